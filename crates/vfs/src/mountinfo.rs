//! The mount tree as text: /proc/PID/mounts and /proc/PID/mountinfo.

use crate::path::{path_text, path_within};
use crate::{Mount, MountFlags, MountNamespace, PathRef};
use std::sync::Arc;

/// Octal escapes for what would break a line into other fields.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#') {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
}

fn options(flags: MountFlags) -> String {
    let mut text = String::from(if flags.contains(MountFlags::RDONLY) { "ro" } else { "rw" });
    let names = [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
    ];
    for (flag, name) in names {
        if flags.contains(flag) {
            text.push_str(name);
        }
    }
    text
}

/// Where a mount shows, if that can be seen from `root`.
fn mount_point(mount: &Arc<Mount>, root: &PathRef) -> Option<Vec<u8>> {
    let text = path_text(&PathRef { mount: mount.clone(), dentry: mount.root().clone() }, root);
    let top = mount.parent().is_none();
    (text.reachable || top && Arc::ptr_eq(mount, &root.mount)).then_some(text.bytes)
}

/// The text of /proc/PID/mounts for a task with this root.
#[must_use]
pub fn mounts(namespace: &MountNamespace, root: &PathRef) -> Vec<u8> {
    let mut out = Vec::new();
    for mount in namespace.list() {
        let Some(point) = mount_point(&mount, root) else { continue };
        escape(mount.source(), &mut out);
        out.push(b' ');
        escape(&point, &mut out);
        let fs = mount.fs();
        let line = format!(" {} {}{} 0 0\n", fs.type_name(), options(mount.flags()), fs.show_options());
        out.extend_from_slice(line.as_bytes());
    }
    out
}

/// The text of /proc/PID/mountinfo for a task with this root.
#[must_use]
pub fn mountinfo(namespace: &MountNamespace, root: &PathRef) -> Vec<u8> {
    let mut out = Vec::new();
    for mount in namespace.list() {
        let Some(point) = mount_point(&mount, root) else { continue };
        let parent = mount.parent().map_or(mount.id(), |p| p.mount.id());
        let fs = mount.fs();
        let dev = fs.dev();
        let (major, minor) = ((dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xf_ff00));
        out.extend_from_slice(format!("{} {parent} {major}:{minor} ", mount.id()).as_bytes());
        escape(&path_within(mount.root()), &mut out);
        out.push(b' ');
        escape(&point, &mut out);
        out.extend_from_slice(format!(" {} - {} ", options(mount.flags()), fs.type_name()).as_bytes());
        escape(mount.source(), &mut out);
        let mode = if mount.flags().contains(MountFlags::RDONLY) { "ro" } else { "rw" };
        out.extend_from_slice(format!(" {mode}{}\n", fs.show_options()).as_bytes());
    }
    out
}
