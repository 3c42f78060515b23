//! Writing sessions between their transactions. Never holds one that is in a transaction or
//! whose state is unknown.

use std::sync::{Mutex, PoisonError};

use crate::engine::{Cause, EngineError, Lock, Session};

/// Idle sessions of one lock. Budgets, not the pool, bound how many are out.
pub(super) struct Pool<'a> {
    lock: &'a dyn Lock,
    idle: Mutex<Vec<Box<dyn Session>>>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(lock: &'a dyn Lock) -> Self {
        Self { lock, idle: Mutex::new(Vec::new()) }
    }

    /// An idle session, else a new one.
    pub(super) async fn take(&self) -> Result<Box<dyn Session>, EngineError> {
        let idle = self.idle().pop();
        match idle {
            Some(session) => Ok(session),
            None => self.lock.session().await,
        }
    }

    /// Takes back a session outside of a transaction.
    pub(super) fn give(&self, session: Box<dyn Session>) {
        self.idle().push(session);
    }

    /// Rolls a failed transaction back; a session that cannot is dropped, which rolls back too.
    pub(super) async fn give_failed(&self, mut session: Box<dyn Session>, error: &EngineError) {
        let usable = !matches!(error.cause, Cause::Connection | Cause::Locked);
        if usable && session.rollback().await.is_ok() {
            self.give(session);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Session>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
