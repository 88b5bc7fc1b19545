//! Mount options (`Documentation/filesystems/devpts.rst`).

use abi::Errno;
use std::fmt::Write;

/// What mount(8) was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Owner of new terminals; `None` for who opens them.
    pub uid: Option<u32>,
    /// Group of new terminals; `None` for that of who opens them.
    pub gid: Option<u32>,
    /// Permission bits of new terminals.
    pub mode: u32,
    /// Permission bits of `ptmx`.
    pub ptmx_mode: u32,
    /// How many terminals there may be.
    pub max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { uid: None, gid: None, mode: 0o600, ptmx_mode: 0, max: 1 << 20 }
    }
}

impl Options {
    /// Parses the data of mount(2).
    ///
    /// # Errors
    /// `EINVAL` for an unknown or malformed option.
    pub fn parse(data: &str) -> Result<Options, Errno> {
        let mut options = Options::default();
        for option in data.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let number = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
            let octal = || u32::from_str_radix(value, 8).map(|m| m & 0o777).map_err(|_| Errno::EINVAL);
            match key {
                "newinstance" if value.is_empty() => {}
                "uid" => options.uid = Some(number()?),
                "gid" => options.gid = Some(number()?),
                "mode" => options.mode = octal()?,
                "ptmxmode" => options.ptmx_mode = octal()?,
                "max" if number()? <= 1 << 20 => options.max = number()?,
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// As /proc/mounts shows them.
    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        if let Some(uid) = self.uid {
            let _ = write!(text, ",uid={uid}");
        }
        if let Some(gid) = self.gid {
            let _ = write!(text, ",gid={gid}");
        }
        let _ = write!(text, ",mode={:03o},ptmxmode={:03o}", self.mode, self.ptmx_mode);
        if self.max < 1 << 20 {
            let _ = write!(text, ",max={}", self.max);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Options;
    use abi::Errno;

    #[test]
    fn options_are_parsed_and_shown() {
        let options = Options::parse("newinstance,gid=5,mode=620,ptmxmode=666,max=8").unwrap();
        assert_eq!(options.show(), ",gid=5,mode=620,ptmxmode=666,max=8");
        assert_eq!(Options::parse("").unwrap().show(), ",mode=600,ptmxmode=000");
        for bad in ["x", "mode=9", "gid=-1", "max=99999999", "newinstance=1"] {
            assert_eq!(Options::parse(bad), Err(Errno::EINVAL), "{bad}");
        }
    }
}
