//! netlink(7).

/// Addresses in use.
#[derive(Default)]
pub struct Ports {}
