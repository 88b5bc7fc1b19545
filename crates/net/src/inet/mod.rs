//! TCP and UDP over the loopback device.

/// The protocols' state.
#[derive(Default)]
pub struct Inet {}
