//! Argon2id (RFC 9106) with parameters between a floor and a ceiling.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use crate::limits::{
    MAX_ARGON2_LANES, MAX_ARGON2_MEMORY_KIB, MAX_ARGON2_WORK_KIB_PASSES, MIN_ARGON2_MEMORY_KIB, MIN_ARGON2_PASSES,
};

/// Why Argon2id parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Argon2ParamsError {
    /// A guesser would have it too easy.
    #[error(
        "Argon2id with {memory_kib} KiB and {passes} passes is too weak; \
         the least is {MIN_ARGON2_MEMORY_KIB} KiB and {MIN_ARGON2_PASSES} passes"
    )]
    TooWeak {
        /// The memory, in KiB.
        memory_kib: u32,
        /// The passes.
        passes: u32,
    },
    /// They would take memory or time away from everything else.
    #[error(
        "Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is too costly; the most is \
         {MAX_ARGON2_MEMORY_KIB} KiB, {MAX_ARGON2_WORK_KIB_PASSES} KiB times passes, {MAX_ARGON2_LANES} lanes"
    )]
    TooCostly {
        /// The memory, in KiB.
        memory_kib: u32,
        /// The passes.
        passes: u32,
        /// The lanes.
        lanes: u32,
    },
    /// There must be a lane.
    #[error("Argon2id needs at least one lane")]
    NoLane,
}

/// Argon2id parameters within the bounds of [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for Argon2Params {
    /// 64 MiB, 10 passes, 1 lane: about half a second on one core of a small server.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 10, lanes: 1 }
    }
}

impl Argon2Params {
    /// Parameters of that memory (KiB), passes and lanes.
    ///
    /// # Errors
    /// [`Argon2ParamsError`] outside the bounds of [`crate::limits`].
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, Argon2ParamsError> {
        if memory_kib < MIN_ARGON2_MEMORY_KIB || passes < MIN_ARGON2_PASSES {
            return Err(Argon2ParamsError::TooWeak { memory_kib, passes });
        }
        let work = u64::from(memory_kib) * u64::from(passes);
        let costly = memory_kib > MAX_ARGON2_MEMORY_KIB || work > MAX_ARGON2_WORK_KIB_PASSES;
        if costly || lanes > MAX_ARGON2_LANES {
            return Err(Argon2ParamsError::TooCostly { memory_kib, passes, lanes });
        }
        if lanes == 0 {
            return Err(Argon2ParamsError::NoLane);
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Memory, in KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    pub fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes.
    pub fn lanes(self) -> u32 {
        self.lanes
    }

    /// Stretches a passphrase to 32 bytes; `None` when the memory cannot be had. Wipes and releases the memory.
    pub(super) fn stretch(self, passphrase: &[u8], salt: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()?;
        let mut arena = Zeroizing::new(Vec::new());
        arena.try_reserve_exact(params.block_count()).ok()?;
        arena.resize(params.block_count(), Block::new());
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, &mut key[..], arena.as_mut_slice())
            .ok()?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let work = MAX_ARGON2_WORK_KIB_PASSES as u32;
        assert!(Argon2Params::new(MIN_ARGON2_MEMORY_KIB, MIN_ARGON2_PASSES, 1).is_ok());
        assert!(Argon2Params::new(MAX_ARGON2_MEMORY_KIB, work / MAX_ARGON2_MEMORY_KIB, MAX_ARGON2_LANES).is_ok());
        for (memory_kib, passes) in [(MIN_ARGON2_MEMORY_KIB - 1, 100), (MAX_ARGON2_MEMORY_KIB, 1), (0, 0)] {
            let error = Argon2Params::new(memory_kib, passes, 1).unwrap_err();
            assert_eq!(error, Argon2ParamsError::TooWeak { memory_kib, passes });
        }
        for (memory_kib, passes, lanes) in [
            (MAX_ARGON2_MEMORY_KIB + 1, 2, 1),
            (MAX_ARGON2_MEMORY_KIB, work / MAX_ARGON2_MEMORY_KIB + 1, 1),
            (u32::MAX, u32::MAX, 1),
            (MIN_ARGON2_MEMORY_KIB, 2, MAX_ARGON2_LANES + 1),
        ] {
            let error = Argon2Params::new(memory_kib, passes, lanes).unwrap_err();
            assert_eq!(error, Argon2ParamsError::TooCostly { memory_kib, passes, lanes });
        }
        assert_eq!(Argon2Params::new(MIN_ARGON2_MEMORY_KIB, 2, 0).unwrap_err(), Argon2ParamsError::NoLane);
    }

    #[test]
    fn the_default_is_within_the_bounds() {
        let params = Argon2Params::default();
        assert_eq!(Argon2Params::new(params.memory_kib, params.passes, params.lanes), Ok(params));
    }
}
