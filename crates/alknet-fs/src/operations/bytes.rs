//! `fs/read*` and `fs/write*`: content, by tickets for byte streams or in the call itself where there is little of it.

use alknet_call::{
    ByteSource, ByteTicket, CallError, Operation, OperationContext, RegisterError, RegistryBuilder, UploadSink,
};
use alknet_core::BoxFuture;
use bytes::Bytes;
use serde_json::Value;

use super::{
    refusal::{declaring, refusal},
    service::{Service, durability_view, expected, path_at, xattrs},
    views::{InlineContent, ReadFile, ReadInline, WriteFile, Written},
};
use crate::{
    access::{Access, Right},
    hash::ContentHash,
    limits::{GROUP_BYTES, MAX_FILE_BYTES},
    session::{Announced, Closed, Create, Kept, OpenWrite, WriteSession},
    tree,
};

pub(super) fn register(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    reading(registry, service)?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::mutation("fs/write"))
            .title("Write a file")
            .description(
                "Gives a ticket for the bytes. Others see nothing of them before all have come; the upload's answer then says which \
                 commit holds the file. An upload that is cut leaves nothing that anybody sees, and nothing at all without `resume`.",
            )
            .access(Access::rule(Right::Write))
            .byte_input()
            .handler(move |context, input: WriteFile| {
                let fs = fs.clone();
                async move { write(&fs, &context, input).await }
            }),
    )?;
    Ok(())
}

/// The operations that only read.
fn reading(registry: &mut RegistryBuilder, service: &Service) -> Result<(), RegisterError> {
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/read"))
            .title("Read a file")
            .description("Gives a ticket for the bytes of one version, whatever happens to the file meanwhile.")
            .access(Access::rule(Right::Read))
            .byte_output()
            .handler(move |context, input: ReadFile| {
                let fs = fs.clone();
                async move { read(&fs, &context, input).await }
            }),
    )?;
    let fs = service.clone();
    registry.register(
        declaring(Operation::query("fs/read.inline"))
            .title("Read a small file, or a part of one")
            .access(Access::rule(Right::Read))
            .handler(move |context, input: ReadInline| {
                let fs = fs.clone();
                async move {
                    let at = fs.address(&input.bucket, input.when.as_deref(), &input.path)?;
                    let file = fs.files().open_file(&context.permit, &at).await.map_err(refusal)?;
                    let count = usize::try_from(input.length).unwrap_or(usize::MAX);
                    let content = file.read_at(input.offset, count).await.map_err(refusal)?;
                    let found = file.attributes();
                    let hash = found.hash.ok_or_else(|| CallError::internal("a file has no hash"))?;
                    Ok(InlineContent { content: super::Base64(content.into()), size: found.size, hash, seq: found.seq })
                }
            }),
    )?;
    Ok(())
}

async fn read(fs: &Service, context: &OperationContext, input: ReadFile) -> Result<ByteTicket, CallError> {
    let at = fs.address(&input.bucket, input.when.as_deref(), &input.path)?;
    let file = fs.files().open_file(&context.permit, &at).await.map_err(refusal)?;
    let (size, hash) = (file.attributes().size, file.attributes().hash);
    let begin = input.offset.min(size);
    let end = input.length.map_or(size, |length| begin.saturating_add(length).min(size));
    let hash = hash.filter(|_| (begin, end) == (0, size)).map(|hash| *hash.as_bytes());
    // Of what is not in the database, each group is proven as it is read.
    let proves_itself = size > GROUP_BYTES;
    let source =
        ByteSource { size: Some(end - begin), hash, proves_itself, ..ByteSource::new(file.stream(begin..end)) };
    let ticket = fs.tickets().issue_download(&context.caller, source)?;
    Ok(if begin > 0 { ticket.starting_at(begin) } else { ticket })
}

async fn write(fs: &Service, context: &OperationContext, input: WriteFile) -> Result<ByteTicket, CallError> {
    let at = fs.address(&input.bucket, None, &input.path)?;
    let expect = expected(input.expect);
    let how = OpenWrite {
        create: if expect == tree::Expect::Absent { Create::Exclusive } else { Create::IfAbsent },
        parents: input.parents,
        expect,
        mode: input.mode,
        mtime_ns: input.mtime.map(|time| time.0),
        xattrs: xattrs(input.xattrs)?,
        beneath: input.beneath.as_ref().map(|path| path_at("/beneath", path)).transpose()?,
        ..OpenWrite::default()
    };
    let Some(resume) = input.resume else {
        let session = fs.files().create(&context.permit, &at, how).await.map_err(refusal)?;
        return fs.tickets().issue_upload(&context.caller, Upload(session), MAX_FILE_BYTES);
    };
    let announced = Announced { size: resume.size, hash: resume.hash };
    let session = fs.files().resume(&context.permit, &at, how, announced).await.map_err(refusal)?;
    let received = session.received();
    let rest = resume.size.saturating_sub(received);
    let ticket = fs.tickets().issue_upload(&context.caller, Upload(session), rest)?;
    Ok(if received > 0 { ticket.starting_at(received) } else { ticket })
}

/// An upload that becomes a version of a file once all of it is there.
struct Upload(WriteSession);

impl UploadSink for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move { self.0.append(bytes).await.map(|_| ()).map_err(refusal) })
    }

    fn hashes_itself(&self) -> bool {
        true
    }

    fn commit(self: Box<Self>, size: u64, hash: [u8; 32]) -> BoxFuture<'static, Result<Value, CallError>> {
        Box::pin(async move {
            let mut session = self.0;
            // Of the rest of an upload the hash is that of the rest; the whole is held against what was announced for it.
            if session.received() == 0 {
                session.must_be(Announced { size, hash: ContentHash::from_bytes(hash) });
            }
            let closed = session.commit().await.map_err(refusal)?;
            serde_json::to_value(written(closed)?).map_err(CallError::internal)
        })
    }
}

fn written(closed: Closed) -> Result<Written, CallError> {
    let Closed { seq, durability, kept, hash, size } = closed;
    let beside = match kept {
        Kept::Beside(_, name) => Some(name.as_bytes().into()),
        Kept::Version(_) | Kept::Unchanged | Kept::Unlinked => None,
    };
    let hash = hash.ok_or_else(|| CallError::internal("what was sent whole has no hash"))?;
    Ok(Written { seq, durability: durability_view(durability), hash, size, beside })
}
