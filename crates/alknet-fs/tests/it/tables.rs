use alknet_core::{Maintenance, PermitError};
use alknet_fs::{
    Chain, FsError, Ino, Seq,
    rows::{Kind, blob, bucket, dent, inode},
};
use alknet_store::{Durability, Rights, Roles, Store, StoreError};

use crate::fixture::{self, branch, file, inline, ino, on, store};

const TASK: Maintenance = Maintenance::of("test");

#[tokio::test]
async fn a_change_of_many_rows_is_there_whole_after_a_restart_or_not_at_all() {
    // FS-92
    let (_folder, path, store) = store();
    let rights = Rights::maintenance(&TASK);
    let write = |fails: bool| {
        move |sql: &rusqlite::Connection, _: &mut alknet_store::Noted<'_>| -> Result<_, FsError> {
            let bucket = fixture::bucket(sql);
            let main = branch(sql, bucket, "main", None);
            let at = on(bucket, main);
            let seq = fixture::begin(sql, at);
            let blob = inline(sql, b"content");
            inode::write(sql, at, &file(2, seq.get(), Some(blob), 7))?;
            dent::write(sql, main, Ino::ROOT, &fixture::dent("a", seq.get(), 2, Kind::File))?;
            if fails { Err(FsError::Denied(PermitError::Revoked)) } else { Ok((main, blob)) }
        }
    };
    let tables = store.tables();
    assert!(matches!(tables.change(&rights, Durability::Strict, write(true)).await, Err(FsError::Denied(_))));
    let count = |sql: &rusqlite::Connection| -> Result<usize, StoreError> { Ok(bucket::page(sql, None, 9)?.len()) };
    assert_eq!(tables.read(count).await.unwrap(), 0);
    let (main, blob) = tables.change(&rights, Durability::Strict, write(false)).await.unwrap();
    store.close();
    let again = Store::open(&path, Roles::default(), alknet_core::Sessions::default()).unwrap();
    let tables = again.tables();
    let seen = tables.read(move |sql| -> Result<_, FsError> {
        let chain = Chain::of(sql, main, Seq::MAX)?.unwrap();
        let dent = chain.dent(sql, Ino::ROOT, b"a")?.unwrap();
        Ok((dent.ino, chain.inode(sql, dent.ino)?.unwrap().blob, blob::bytes(sql, blob)?))
    });
    assert_eq!(seen.await.unwrap(), (ino(2), Some(blob), Some(b"content".to_vec())));
}
