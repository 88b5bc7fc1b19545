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
    /// How many terminals there may be; 0 for any number.
    pub max: u32,
}

/// Most terminals of an instance (`NR_UNIX98_PTY_MAX`).
const MAX: u32 = 1 << 20;

impl Default for Options {
    fn default() -> Options {
        Options { uid: None, gid: None, mode: 0o600, ptmx_mode: 0, max: MAX }
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
            let digits = value.bytes().all(|b| b.is_ascii_digit());
            let parsed = |radix| u32::from_str_radix(value, radix).ok().filter(|_| digits).ok_or(Errno::EINVAL);
            let number = || parsed(10);
            let octal = || parsed(8).map(|mode| mode & 0o7777);
            // The highest number stands for no id at all.
            let id = || number().and_then(|id| if id == u32::MAX { Err(Errno::EINVAL) } else { Ok(id) });
            match key {
                "newinstance" if value.is_empty() => {}
                "uid" => options.uid = Some(id()?),
                "gid" => options.gid = Some(id()?),
                "mode" => options.mode = octal()?,
                "ptmxmode" => options.ptmx_mode = octal()?,
                "max" if number()? <= MAX => options.max = number()?,
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
        if self.max < MAX {
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
        for bad in ["x", "mode", "mode=9", "gid=-1", "uid=+1", "uid=4294967295", "max=99999999", "newinstance=1"] {
            assert_eq!(Options::parse(bad), Err(Errno::EINVAL), "{bad}");
        }
    }
}
