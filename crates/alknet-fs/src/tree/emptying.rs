//! Taking away what is in a folder, in one change or in several.

use std::collections::VecDeque;

use super::{Txn, stop::Stop};
use crate::{
    ids::{Ino, Seq},
    limits::{ENTRIES_PER_STEP, PAGE_ROWS_AT_ONCE},
    rows::{Kind, dent, dent::Dent},
};

/// A folder that is being emptied: every name below it is taken away by itself, for each may be one of several of its file, and is a
/// change of its own to whoever watches, follows or merges.
pub(super) struct Emptying {
    /// The folder, and those below it on the way to where it stands.
    open: Vec<Open>,
}

struct Open {
    dir: Ino,
    /// Up to this name it is empty.
    after: Box<[u8]>,
    /// Names that were read and not yet looked at.
    ahead: VecDeque<Dent>,
    /// Whether that are the last ones.
    is_read: bool,
    /// The folder above, and the name that goes when this one is empty.
    held: Option<(Ino, Dent)>,
}

impl Open {
    fn new(dir: Ino, held: Option<(Ino, Dent)>) -> Self {
        Self { dir, after: Box::default(), ahead: VecDeque::new(), is_read: false, held }
    }
}

impl Emptying {
    /// Nothing is taken away yet.
    pub fn new(folder: Ino) -> Self {
        Self { open: vec![Open::new(folder, None)] }
    }

    /// Takes at most so many names away. Answers whether the folder is empty.
    pub fn go_on(&mut self, txn: &mut Txn<'_>, count: usize) -> Result<bool, Stop> {
        let mut taken = 0;
        while let Some(here) = self.open.last_mut() {
            if here.ahead.is_empty() && !here.is_read {
                let page = txn.chain().page(txn.sql(), here.dir, &here.after, PAGE_ROWS_AT_ONCE)?;
                here.is_read = page.len() < PAGE_ROWS_AT_ONCE;
                here.ahead = page.into();
            }
            let (above, dent) = match here.ahead.pop_front() {
                Some(dent) => {
                    if dent.name > here.after {
                        here.after = dent.name.clone();
                    }
                    let dir = here.dir;
                    if dent.kind == Kind::Folder {
                        self.open.push(Open::new(dent.ino, Some((dir, dent))));
                        continue;
                    }
                    (dir, dent)
                }
                None => match self.open.pop().and_then(|empty| empty.held) {
                    Some(held) => held,
                    None => break,
                },
            };
            if dent.kind == Kind::Folder {
                txn.is_empty(dent.ino)?;
            }
            txn.take(above, &dent)?;
            taken += 1;
            if taken >= count {
                break;
            }
        }
        Ok(self.open.is_empty())
    }

    /// Takes up again in another change what somebody may have meddled with since this commit.
    pub fn resume(&mut self, txn: &Txn<'_>, since: Seq) -> Result<(), Stop> {
        // A folder that was moved or removed is no longer below: the one above goes on after its name.
        for index in 1..self.open.len() {
            if let Some((above, dent)) = &self.open[index].held
                && txn.chain().dent(txn.sql(), *above, &dent.name)?.is_none_or(|now| now.ino != dent.ino)
            {
                self.open.truncate(index);
                break;
            }
        }
        for here in &mut self.open {
            here.ahead.clear();
            here.is_read = false;
            let mut names = Vec::new();
            for level in txn.chain().levels() {
                names.extend(dent::given_since(txn.sql(), (level.branch, here.dir), since, ENTRIES_PER_STEP)?);
            }
            if names.len() >= ENTRIES_PER_STEP {
                here.after = Box::default();
                continue;
            }
            names.sort_unstable();
            names.dedup();
            for name in names.into_iter().filter(|name| *name <= here.after) {
                here.ahead.extend(txn.chain().dent(txn.sql(), here.dir, &name)?);
            }
        }
        // What stands open is not among what was given meanwhile.
        let inner: Vec<_> = self.open.iter().skip(1).map(|inner| inner.dir).collect();
        for here in &mut self.open {
            here.ahead.retain(|dent| !inner.contains(&dent.ino));
        }
        Ok(())
    }
}
