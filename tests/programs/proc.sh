# What looks at the system works.
ps aux | head -1 | tr -s " "; ps -o pid= -p $$ | wc -l; top -b -n1 | head -1 | cut -c1-3; free | head -1; lsof -p $$ 2>/dev/null | head -1 | cut -c1-7; ls -d /proc/self/fd/{0,1,2}
for f in maps status stat mountinfo cmdline environ; do test -s /proc/self/$f && echo $f; done; head -c 4 /proc/self/exe | od -An -c
ls -d /dev/{null,zero,full,random,urandom,tty,ptmx,pts,shm,stdin,stdout,stderr,fd}; echo x > /dev/full; echo x | cat /dev/stdin; lscpu | grep -c '^CPU(s)'; nproc
# Every device does what it is for.
echo x > /dev/null && echo null; head -c 3 /dev/zero | od -An -c; for d in random urandom; do head -c 16 /dev/$d | wc -c; done
echo x > /dev/full 2>/dev/null || echo full; head -c 1 /dev/full | od -An -c; echo out > /dev/stdout; echo err 2>&1 >/dev/stderr | cat; echo fd > /dev/fd/1
echo shared > /dev/shm/vizor-$$ && cat /dev/shm/vizor-$$ && rm /dev/shm/vizor-$$; ( : < /dev/tty ) 2>/dev/null || echo "no terminal"
/usr/bin/python3 -c 'import os, pty; m, s = pty.openpty(); print(os.ttyname(s).startswith("/dev/pts/"), os.path.exists(os.ttyname(s))); os.write(m, b"x\n"); print(os.read(s, 9))'
# Tables whose rows are this sandbox's processes.
# Natively, those of others are seen too.
sleep 30.125 & p=$!; ps aux | grep -c "[s]leep 30\.125$"; top -b -n1 -p $p | grep -c "sleep"; lsof -p $p 2>/dev/null | grep -c " cwd "; free -b | awk '/Mem:/ { print ($2 > 0 && $3 < $2) }'; kill $p; wait
ls -l /proc/self/fd | grep -cE ' [0-2] -> '; lscpu | grep -E '^(Architecture|Byte Order|CPU\(s\))' | tr -s ' '
