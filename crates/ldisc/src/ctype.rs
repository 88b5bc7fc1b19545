//! Character classes as the kernel's terminal code has them: Latin-1, whatever the locale.

pub(crate) fn is_control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

fn is_upper(c: u8) -> bool {
    c.is_ascii_uppercase() || (0xc0..=0xde).contains(&c) && c != 0xd7
}

fn is_lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c >= 0xdf && c != 0xf7
}

pub(crate) fn is_alphanumeric(c: u8) -> bool {
    c.is_ascii_digit() || is_upper(c) || is_lower(c)
}

/// Upper case by distance, so that `ß` and `ÿ`, which have no capital in Latin-1, turn into something else.
pub(crate) fn to_upper(c: u8) -> u8 {
    if is_lower(c) { c - 0x20 } else { c }
}

pub(crate) fn to_lower(c: u8) -> u8 {
    if is_upper(c) { c + 0x20 } else { c }
}

pub(crate) fn is_utf8_continuation(c: u8) -> bool {
    c & 0xc0 == 0x80
}
