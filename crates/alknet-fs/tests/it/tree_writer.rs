//! Writes trees as the file system does: one commit a change, whiteouts where names go.

use alknet_fs::{
    BranchId, BucketId, Chain, Ino, Seq,
    rows::{
        Kind,
        branch::Mode,
        bucket,
        dent::{self, Dent},
        inode,
    },
};
use rusqlite::Connection;

use crate::fixture;

pub struct Tree {
    pub sql: Connection,
    pub bucket: BucketId,
    pub main: BranchId,
}

impl Tree {
    pub fn new() -> Self {
        let sql = fixture::tables();
        let bucket = fixture::bucket(&sql);
        let main = fixture::branch(&sql, bucket, "main", None);
        Self { sql, bucket, main }
    }
    pub fn head(&self) -> Seq {
        bucket::get(&self.sql, self.bucket).unwrap().unwrap().head
    }
    pub fn begin(&self, branch: BranchId) -> Seq {
        fixture::begin(&self.sql, fixture::on(self.bucket, branch))
    }
    pub fn fork(&self, name: &str, parent: BranchId, at: Seq, mode: Mode) -> BranchId {
        fixture::branch(&self.sql, self.bucket, name, Some((parent, at.get(), mode)))
    }
    pub fn chain(&self, branch: BranchId) -> Chain {
        self.chain_at(branch, Seq::MAX)
    }
    pub fn chain_at(&self, branch: BranchId, bound: Seq) -> Chain {
        Chain::of(&self.sql, branch, bound).unwrap().unwrap()
    }
    pub fn find(&self, branch: BranchId, dir: Ino, name: &str) -> Option<Dent> {
        self.chain(branch).dent(&self.sql, dir, name.as_bytes()).unwrap()
    }
    pub fn names(&self, branch: BranchId, dir: Ino) -> Vec<String> {
        let page = self.chain(branch).page(&self.sql, dir, b"", 1000).unwrap();
        page.into_iter().map(|dent| String::from_utf8(dent.name.into_vec()).unwrap()).collect()
    }
    pub fn make(&self, branch: BranchId, dir: Ino, name: &str, kind: Kind) -> Ino {
        let (seq, ino) = (self.begin(branch), bucket::next_ino(&self.sql, self.bucket, 0).unwrap());
        self.write(
            branch,
            dir,
            Dent { name: name.as_bytes().into(), seq, ino, kind, gone: false, made: true, shown: None },
        );
        let row = inode::Inode { kind, ..fixture::file(ino.get(), seq.get(), None, 0) };
        inode::write(&self.sql, fixture::on(self.bucket, branch), &row).unwrap();
        ino
    }
    pub fn link(&self, branch: BranchId, found: &Dent, dir: Ino, name: &str) {
        let seq = self.begin(branch);
        self.write(branch, dir, Dent { name: name.as_bytes().into(), seq, gone: false, made: false, ..found.clone() });
    }
    pub fn remove(&self, branch: BranchId, dir: Ino, name: &str) {
        let found = self.find(branch, dir, name).unwrap();
        let seq = self.begin(branch);
        self.write(branch, dir, Dent { seq, gone: true, made: false, ..found });
    }
    pub fn rename(&self, branch: BranchId, (dir, name): (Ino, &str), (to, new): (Ino, &str)) {
        let found = self.find(branch, dir, name).unwrap();
        let seq = self.begin(branch);
        self.write(branch, dir, Dent { seq, gone: true, made: false, ..found.clone() });
        self.write(branch, to, Dent { name: new.as_bytes().into(), seq, gone: false, made: false, ..found });
    }
    fn write(&self, branch: BranchId, dir: Ino, row: Dent) {
        dent::write(&self.sql, branch, dir, &row).unwrap();
    }
}
