# The interpreter and the modules that lean on the kernel.
/usr/bin/python3 - <<'END'
import asyncio, multiprocessing, os, queue, select, signal, socket, subprocess, sys, tempfile, threading, time
print(subprocess.run(["echo", "sub"], capture_output=True, text=True).stdout.strip())
print(subprocess.run("exit 5", shell=True).returncode)
q = queue.Queue()
t = threading.Thread(target=lambda: q.put(sum(range(10)))); t.start(); print(q.get(timeout=5)); t.join()
async def main():
    async def one(n): await asyncio.sleep(0.01 * n); return n
    print(await asyncio.gather(*(one(n) for n in range(5))))
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    print((await p.communicate(b"async"))[0])
asyncio.run(main())
def square(n): return n * n
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(square, range(6)))
a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1))
r, w = os.pipe(); os.write(w, b"hello"); print(select.select([r], [], [], 1)[0] == [r], os.read(r, 9))
signal.signal(signal.SIGALRM, lambda *_: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()
with tempfile.TemporaryDirectory() as d: open(d + "/f", "w").write("data"); print(os.listdir(d))
print(sys.stdin.isatty(), os.getpgid(0) > 0, time.monotonic() > 0)
END
