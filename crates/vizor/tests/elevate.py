"""As sudo does with use_pty: asks for a password on /dev/tty without echo, then runs a command on a terminal of its own and
carries what is typed and printed between that and the caller's terminal, which is raw meanwhile."""
import fcntl, os, pty, select, signal, struct, sys, termios, tty


def password(terminal):
    old = termios.tcgetattr(terminal)
    new = termios.tcgetattr(terminal)
    new[3] &= ~termios.ECHO
    new[3] |= termios.ECHONL
    termios.tcsetattr(terminal, termios.TCSAFLUSH, new)
    try:
        os.write(terminal, b"Password: ")
        return os.read(terminal, 100).rstrip(b"\n")
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, old)


def window(source, target):
    fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))


def main():
    terminal = os.open("/dev/tty", os.O_RDWR)
    if password(terminal) != b"secret":
        os.write(terminal, b"sorry\n")
        return 1
    master, slave = pty.openpty()
    window(terminal, slave)
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.closerange(3, 100)
        os.execvp(sys.argv[1], sys.argv[1:])
    os.close(slave)
    signal.signal(signal.SIGWINCH, lambda *_: window(terminal, master))
    old = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        while True:
            ready, _, _ = select.select([terminal, master], [], [])
            try:
                if terminal in ready:
                    os.write(master, os.read(terminal, 4096))
                if master in ready:
                    os.write(terminal, os.read(master, 4096))
            except OSError:
                break
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, old)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


sys.exit(main())
