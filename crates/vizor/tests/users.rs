//! `vizor do` as an ordinary user: what root can do with it, another user can do with their own files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const USER: u32 = 12345;

/// A directory of the user's, with a copy of `vizor` that the user can reach; goes away.
struct Home(PathBuf);

impl Home {
    /// Nothing if we are an ordinary user ourselves: then all other tests say what these do.
    fn new(name: &str) -> Option<Home> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let home = Home(std::env::temp_dir().join(format!("vizor-user-{name}-{}", std::process::id())));
        fs::create_dir_all(&home.0).expect("a directory");
        // By another process: a child forked meanwhile would hold it open for writing, and it could not be executed.
        let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_vizor")).arg(home.0.join("vizor")).status();
        assert!(copy.expect("cp").success());
        chown(&home.0, Some(USER), Some(USER)).expect("chown");
        fs::set_permissions(&home.0, fs::Permissions::from_mode(0o755)).expect("chmod");
        Some(home)
    }

    /// Runs a line of shell as the user, in that directory, with a time limit.
    fn shell(&self, line: &str) -> Output {
        Command::new("timeout")
            .args(["-s", "KILL", "20", "setpriv", "--clear-groups"])
            .args([format!("--reuid={USER}"), format!("--regid={USER}")])
            .args(["bash", "-c", line])
            .current_dir(&self.0)
            .env("HOME", &self.0)
            .stdin(Stdio::null())
            .output()
            .expect("setpriv runs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn expect(home: &Home, line: &str, status: i32, stdout: &str) {
    let out = home.shell(line);
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(status), stdout), "{}", text(&out.stderr));
}

fn owner(path: &Path) -> (u32, u32) {
    let of = fs::metadata(path).expect("a file");
    (of.uid(), of.gid())
}

#[test]
fn statuses_and_failures_are_as_for_root() {
    let Some(home) = Home::new("status") else { return };
    expect(&home, "./vizor do sh -c 'id -u; exit 7'", 7, "12345\n");
    expect(&home, "./vizor do sh -c 'kill -TERM $$'", 143, "");
    expect(&home, "./vizor do ./none", 127, "");
    expect(&home, "./vizor do /etc", 126, "");
    expect(&home, "./vizor do --rootfs /none true", 125, "");
}

#[test]
fn writes_stay_in_memory_unless_asked() {
    let Some(home) = Home::new("writes") else { return };
    fs::create_dir(home.path("shown")).expect("mkdir");
    chown(home.path("shown"), Some(USER), Some(USER)).expect("chown");
    expect(&home, "./vizor do sh -c 'echo x > kept-in-memory; cat kept-in-memory'", 0, "x\n");
    assert!(!home.path("kept-in-memory").exists());
    expect(
        &home,
        "./vizor do --rw sh -c 'umask 027; echo x > through; mkdir d; mv through d; stat -c %u:%a d/through'",
        0,
        "12345:640\n",
    );
    assert_eq!(fs::read(home.path("d/through")).expect("the file"), b"x\n");
    assert_eq!(owner(&home.path("d/through")), (USER, USER));
    expect(&home, "./vizor do --volume shown:/mnt sh -c 'echo y > /mnt/f'", 0, "");
    assert_eq!(fs::read(home.path("shown/f")).expect("the file"), b"y\n");
    assert_eq!(owner(&home.path("shown/f")), (USER, USER));
    expect(&home, "./vizor do --volume shown:/mnt:ro sh -c 'cat /mnt/f; echo z 2>/dev/null > /mnt/f'", 2, "y\n");
    expect(&home, "./vizor do --rw sh -c 'echo z 2>/dev/null > /etc/vizor-was-here'", 2, "");
    assert!(!Path::new("/etc/vizor-was-here").exists());
}

#[test]
fn other_users_may_be_played() {
    let Some(home) = Home::new("ids") else { return };
    expect(&home, "./vizor do --user 0 sh -c 'id -u; id -g; touch /etc/x && echo made'", 0, "0\n0\nmade\n");
    expect(&home, "./vizor do --user 5:6 sh -c 'id -u; id -g'", 0, "5\n6\n");
    // Whoever the guest is, the host sees the user.
    expect(&home, "./vizor do --rw --user 0 sh -c 'cat /etc/shadow 2>/dev/null || echo closed'", 0, "closed\n");
}

#[test]
fn descriptors_may_be_of_all_kinds() {
    let Some(home) = Home::new("kinds") else { return };
    let kinds = "for n in 0 1 2; do f=/dev/fd/$n; if [ -t $n ]; then echo $n tty; elif [ -p $f ]; then echo $n pipe; \
                 elif [ -f $f ]; then echo $n file; elif [ -e $f ]; then echo $n other; else echo $n none; fi; done";
    fs::write(home.path("kinds.sh"), kinds).expect("a script");
    fs::write(home.path("in"), "x").expect("a file");
    for streams in ["", "< in", "0<&-", "2> err < in", "2>&- < in", "2>&1 | cat", "1>&2 2>&1", "2> err | cat"] {
        let natively = home.shell(&format!("bash kinds.sh {streams}"));
        let sandboxed = home.shell(&format!("./vizor do bash kinds.sh {streams}"));
        assert_eq!(text(&sandboxed.stdout), text(&natively.stdout), "{streams}");
        assert_eq!(text(&sandboxed.stderr), text(&natively.stderr), "{streams}");
    }
    // What script(1) types at the end of its own input may be echoed before.
    let terminal = home.shell("script -qec './vizor do bash kinds.sh' /dev/null < /dev/null");
    let shown = text(&terminal.stdout).replace('\r', "");
    assert!(shown.ends_with("0 tty\n1 tty\n2 tty\n"), "{shown:?}");
}
