//! What an operation keeps between the tries of one call.
//!
//! Most operations need nothing: they do all or answer that they would block. A read of a terminal with `VMIN` and `VTIME`
//! has taken bytes by the time it waits, and gives up at a time of its own.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::time::Instant;

/// State of one call, made anew for each and kept over its waits.
#[derive(Default)]
pub struct CallState {
    kept: RefCell<Option<Box<dyn Any>>>,
    deadline: Cell<Option<Instant>>,
    partial: Cell<bool>,
    finish: Cell<bool>,
}

impl CallState {
    /// Takes back what was kept.
    #[must_use]
    pub fn take<T: 'static>(&self) -> Option<T> {
        self.deadline.set(None);
        self.partial.set(false);
        self.kept.take()?.downcast::<T>().ok().map(|kept| *kept)
    }

    /// Keeps state over a wait that ends at `deadline` by itself. With `partial`, there is something to return even if a
    /// signal ends it.
    pub fn keep<T: 'static>(&self, state: T, deadline: Option<Instant>, partial: bool) {
        self.kept.replace(Some(Box::new(state)));
        self.deadline.set(deadline);
        self.partial.set(partial);
    }

    /// When the operation wants to be tried again even without news.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// A signal ended the wait. Returns whether the operation must be tried once more, to return what it has.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.finish.set(true);
        self.partial.get()
    }

    /// Whether this is that last try: the operation may not wait any more.
    #[must_use]
    pub fn must_finish(&self) -> bool {
        self.finish.get()
    }
}
