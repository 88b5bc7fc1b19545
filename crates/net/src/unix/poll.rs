//! What poll(2) reports of local sockets (`unix_poll`, `unix_dgram_poll`).

use super::{DATAGRAMS_MAX, Phase, State, UnixSocket};
use crate::flow::roomy;
use std::sync::Weak;
use vfs::wait::Events;

impl UnixSocket {
    /// Whether a datagram from `sender` finds no room here. Peers of each other are not limited by number.
    pub(super) fn full_for(&self, state: &State, sender: &UnixSocket) -> bool {
        let of_sender = state.peer.as_ref().is_some_and(|peer| peer.ptr_eq(&sender.this));
        !of_sender && !self.is(sender) && state.queue.len() > DATAGRAMS_MAX
    }

    /// Leaves `waiter` to be told of room here.
    pub(super) fn add_waiter(state: &mut State, waiter: &Weak<UnixSocket>) {
        if !state.waiters.iter().any(|w| w.ptr_eq(waiter)) {
            state.waiters.retain(|w| w.strong_count() > 0);
            state.waiters.push(waiter.clone());
        }
    }

    /// Whether it can send: its own share, and of a datagram socket its peer's queue.
    fn can_send(&self) -> bool {
        let peer = self.peer();
        if self.is_stream() {
            let queued = peer.map_or(0, |peer| peer.state.lock().queue.cost());
            return roomy(queued, self.flow.options.get().send_buffer as usize);
        }
        if !self.flow.writable() {
            return false;
        }
        let Some(peer) = peer else { return true };
        let mut state = peer.state.lock();
        let full = !state.closed && peer.full_for(&state, self);
        if full {
            UnixSocket::add_waiter(&mut state, &self.this);
        }
        !full
    }

    pub(super) fn events(&self) -> Events {
        let can_send = self.can_send();
        let state = self.state.lock();
        let mut events = Events::empty();
        if state.shut_read {
            events |= Events::RDHUP | Events::READABLE;
        }
        if state.shut_read && state.shut_write {
            events |= Events::HUP;
        }
        let idle = match &state.phase {
            Phase::Listening { waiting, .. } => {
                if !waiting.is_empty() {
                    events |= Events::READABLE;
                }
                return events | self.error_event();
            }
            Phase::Idle => true,
            Phase::Connected => false,
        };
        if !state.queue.is_empty() {
            events |= Events::READABLE;
        }
        if idle && !self.is_datagram() {
            events |= Events::HUP;
        }
        if can_send {
            events |= Events::WRITABLE | Events::WRBAND;
        }
        events | self.error_event()
    }

    fn error_event(&self) -> Events {
        if self.flow.options.get().error.is_some() { Events::ERR } else { Events::empty() }
    }

    /// Flags, state and name as /proc/net/unix shows them.
    #[must_use]
    pub fn summary(&self) -> (u32, u8, Vec<u8>) {
        /// `SO_ACCEPTCON`, and Linux's `SS_UNCONNECTED` and `SS_CONNECTED`.
        const LISTENS: u32 = 0x1_0000;
        let state = self.state.lock();
        let (flags, number) = match state.phase {
            Phase::Listening { .. } => (LISTENS, 1),
            Phase::Connected => (0, 3),
            Phase::Idle => (0, 1),
        };
        (flags, number, state.name.clone())
    }
}
