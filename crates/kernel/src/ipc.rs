//! What a task has of IPC: its namespace, and the adjustments of semaphores that its end takes back (`SEM_UNDO`). Both
//! belong to the crate that implements them.

use std::any::Any;
use std::sync::{Arc, OnceLock};

/// An IPC namespace (ipc_namespaces(7)).
pub trait IpcNamespace: Any + Send + Sync {
    /// A new, empty one.
    fn fresh(&self) -> Arc<dyn IpcNamespace>;

    /// For downcasts to the concrete type.
    fn as_any(&self) -> &dyn Any;
}

/// Adjustments, made on first use. Whoever drops the last reference applies them.
pub type UndoCell = Arc<OnceLock<Box<dyn Any + Send + Sync>>>;

/// A task's part.
#[derive(Clone)]
pub struct IpcContext {
    /// The namespace.
    pub namespace: Arc<dyn IpcNamespace>,
    /// `CLONE_SYSVSEM` shares it.
    pub undo: UndoCell,
}

impl IpcContext {
    /// In this namespace, without adjustments.
    #[must_use]
    pub fn new(namespace: Arc<dyn IpcNamespace>) -> IpcContext {
        IpcContext { namespace, undo: UndoCell::default() }
    }

    /// What a child gets (clone(2)).
    #[must_use]
    pub fn inherit(&self, new_namespace: bool, share_undo: bool) -> IpcContext {
        let namespace = if new_namespace { self.namespace.fresh() } else { self.namespace.clone() };
        IpcContext { namespace, undo: if share_undo { self.undo.clone() } else { UndoCell::default() } }
    }
}
