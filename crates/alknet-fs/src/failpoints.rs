//! Named steps of a change at which tests look, or die. In the product a step is nothing.

/// Says that a change has come to the step of this name.
#[inline]
pub fn step(name: &'static str) {
    #[cfg(feature = "failpoints")]
    armed::hear(name);
    let _ = name;
}

#[cfg(feature = "failpoints")]
pub use armed::{Armed, arm};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

    type Hook = Arc<dyn Fn(&'static str) + Send + Sync>;

    static HOOK: RwLock<Option<Hook>> = RwLock::new(None);
    static TURN: Mutex<()> = Mutex::new(());

    /// Hears the steps until it is dropped.
    pub struct Armed {
        _turn: MutexGuard<'static, ()>,
    }

    /// Calls `hook` at each step of the whole process, on the thread that makes it. Waits until nobody else does.
    pub fn arm(hook: impl Fn(&'static str) + Send + Sync + 'static) -> Armed {
        // Both locks guard values that a panicking hook leaves whole.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        *HOOK.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
        Armed { _turn: turn }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            *HOOK.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    pub(super) fn hear(name: &'static str) {
        // Not held while the hook runs: it may come to steps of its own.
        let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(name);
        }
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn steps_are_heard_while_somebody_listens() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        step("before");
        let armed = arm({
            let heard = heard.clone();
            move |name| heard.lock().unwrap().push(name)
        });
        step("first");
        std::thread::spawn(|| step("second")).join().unwrap();
        drop(armed);
        step("after");
        assert_eq!(*heard.lock().unwrap(), ["first", "second"]);
    }
}
