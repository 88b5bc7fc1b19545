# What looks at the system works.
ps aux | head -1 | tr -s " "; ps -o pid= -p $$ | wc -l; top -b -n1 | head -1 | cut -c1-3; free | head -1; lsof -p $$ 2>/dev/null | head -1 | cut -c1-7; ls -d /proc/self/fd/{0,1,2}
for f in maps status stat mountinfo cmdline environ; do test -s /proc/self/$f && echo $f; done; head -c 4 /proc/self/exe | od -An -c
ls -d /dev/{null,zero,full,random,urandom,tty,ptmx,pts,shm,stdin,stdout,stderr,fd}; echo x > /dev/full; echo x | cat /dev/stdin; lscpu | grep -c '^CPU(s)'; nproc
