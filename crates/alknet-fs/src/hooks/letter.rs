//! What a hook says of a commit.

use crate::{
    events::Heard,
    limits::MAX_HOOK_BODY_BYTES,
    name::{BranchName, BucketName, HookName},
    operations::{HookedCommit, commit_view},
};

/// The JSON text for a commit. Where it would be too long it tells of fewer changes, and says that there are more.
pub(super) fn text(bucket: &BucketName, branch: &BranchName, hook: &HookName, heard: Heard) -> String {
    let (bucket, branch, hook) = (bucket.clone(), branch.clone(), hook.clone());
    let mut said = HookedCommit { bucket, branch, hook, commit: commit_view(heard) };
    loop {
        let text = serde_json::to_string(&said).expect("because a map with texts for keys is JSON");
        if text.len() <= MAX_HOOK_BODY_BYTES || said.commit.changes.is_empty() {
            return text;
        }
        said.commit.changes.truncate(said.commit.changes.len() / 2);
        said.commit.more = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::{Told, ToldChange, Way},
        ids::{BranchId, Hlc, Seq},
        limits::{MAX_PATH_BYTES, MAX_TOLD_CHANGES},
        rows::{Kind, commit::CommitRow},
    };

    fn said(changes: usize, length: usize) -> serde_json::Value {
        let change = |number: usize| ToldChange {
            path: format!("/{}{number}", "x".repeat(length)).into_bytes(),
            ways: vec![Way::Added],
            kind: Kind::File,
            from: None,
        };
        let commit = CommitRow {
            seq: Seq::new(7).unwrap(),
            branch: BranchId(1),
            time_ns: 0,
            hlc: Hlc::default(),
            actor: "ann".into(),
            op: "fs/mkdir".into(),
        };
        let heard = Heard { commit, told: Told { changes: (0..changes).map(change).collect(), more: false } };
        let text = text(&"b".parse().unwrap(), &BranchName::main(), &"h".parse().unwrap(), heard);
        assert!(text.len() <= MAX_HOOK_BODY_BYTES, "{} bytes", text.len());
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_said_of_a_commit_fits_into_a_job() {
        // FS-75
        let whole = said(3, 4);
        assert_eq!((whole["changes"].as_array().unwrap().len(), &whole["more"]), (3, &false.into()));
        assert_eq!((&whole["bucket"], &whole["hook"], &whole["seq"]), (&"b".into(), &"h".into(), &7.into()));
        let cut = said(MAX_TOLD_CHANGES, 4000);
        let left = cut["changes"].as_array().unwrap().len();
        assert!((1..MAX_TOLD_CHANGES).contains(&left) && cut["more"] == true, "{left}");
        let none = said(1, MAX_PATH_BYTES);
        assert_eq!((&none["changes"], &none["more"]), (&serde_json::json!([]), &true.into()));
    }
}
