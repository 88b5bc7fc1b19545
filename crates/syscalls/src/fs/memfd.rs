//! memfd_create(2).

use super::add_fd;
use crate::args::{Arg, Args};
use crate::table::Entry;
use ::fs::tmpfs::{Options, TmpFs};
use abi::Errno;
use abi::raw::general as c;
use kernel::{CurrentTask, SysResult};
use std::any::Any;
use std::sync::Arc;
use vfs::Mount;

/// Serves this call.
pub const TABLE: &[Entry] = &[Entry::new(319, "memfd_create", memfd_create, &[Arg::Path, Arg::Flags(FLAGS)])];

const FLAGS: &[(u64, &str)] =
    &[(1, "MFD_CLOEXEC"), (2, "MFD_ALLOW_SEALING"), (4, "MFD_HUGETLB"), (8, "MFD_NOEXEC_SEAL"), (0x10, "MFD_EXEC")];

/// The mount, attached nowhere, of the tmpfs that memory files live on.
fn shm_mount(t: &CurrentTask) -> Result<Arc<Mount>, Errno> {
    if let Some(mount) = t.kernel.shm_mount.get() {
        return Ok(mount.clone());
    }
    let mount = TmpFs::new(&t.kernel.frames, Options::default())?.detached_mount();
    Ok(t.kernel.shm_mount.get_or_init(|| mount).clone())
}

fn memfd_create(t: &mut CurrentTask, a: Args) -> SysResult {
    /// As much of the name as `memfd:` leaves of `NAME_MAX`.
    const NAME_MAX: usize = 249;
    let flags = a.u32(1);
    let known = c::MFD_CLOEXEC | c::MFD_ALLOW_SEALING | c::MFD_NOEXEC_SEAL | c::MFD_EXEC;
    if flags & !known != 0 || flags & c::MFD_EXEC != 0 && flags & c::MFD_NOEXEC_SEAL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = t.mm().copy_in_cstr(a.u64(0), NAME_MAX + 1).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })?;
    let mount = shm_mount(t)?;
    let fs: Arc<dyn Any + Send + Sync> = mount.fs().clone();
    let fs = fs.downcast::<TmpFs>().map_err(|_| Errno::ENOSYS)?;
    let file = fs.memfd(&mount, &*t, &name, flags)?;
    Ok(add_fd(t, Arc::new(file), flags & c::MFD_CLOEXEC != 0)?)
}
