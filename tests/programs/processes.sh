# Many processes and threads, and a fork of something large.
for i in $(seq 200); do sleep 0.3 & done; wait; echo "200 processes"
perl -e 'for (1..200) { my $p = fork; if (!$p) { exit 7 } waitpid $p, 0; $? >> 8 == 7 or die } print "200 forks\n"'
python3 - <<'END'
import threading, os, mmap
def work(n): total.append(sum(range(n)))
total = []
threads = [threading.Thread(target=work, args=(1000,)) for _ in range(200)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(total), "threads")
m = mmap.mmap(-1, 1 << 30)
m[0] = 1; m[(1 << 30) - 1] = 2
for i in range(0, 64 << 20, 4096): m[i] = 3
pid = os.fork()
if pid == 0:
    os._exit(m[4096] + m[(1 << 30) - 1])
print("fork of 1 GiB:", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
