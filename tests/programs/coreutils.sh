# The usual tools on files.
mkdir -p a/b/c; echo hello > a/b/c/f; ln -s b a/link; ln a/b/c/f a/hard
find a | sort; find a -type l; stat -c '%h %s %F' a/hard a/link; cat a/link/c/f
cp -r a z; diff -r a z && echo same; mv z y; rm -r y; ls
seq 1 10000 > n; wc -l n; md5sum < n; sort -rn n | head -1; sort -R n | sort -n | md5sum; tail -c 5 n; split -l 3000 n part.; ls part.*
grep -c 7 n; grep -rn hello a | sort; sed -n '5,7s/^/x/p' n; awk '{s += $1} END {print s}' n
tar cf t.tar a n; tar tf t.tar | sort; mkdir out; tar xf t.tar -C out; diff -r a out/a && cmp n out/n && echo unpacked
gzip -k n; gunzip -c n.gz | cmp - n && echo gzip; xz -T2 -k n; xz -dc n.xz | cmp - n && echo xz
touch -d '2001-02-03 04:05:06 UTC' t; stat -c %Y t; date -u -d @0; chmod 640 t; stat -c %a t; umask
dd if=/dev/zero of=z bs=64k count=16 2>/dev/null; stat -c %s z; truncate -s 10 z; stat -c %s z; head -c 4 /dev/zero | od -An -tx1
seq 20 | xargs -P 4 -n 2 echo | sort -n; basename /a/b.c .c; realpath a/link; readlink a/link; tee x < t; nproc > /dev/null && echo nproc
df . > /dev/null && echo df; du -s a > /dev/null && echo du; id -u; expr 3 + 4; printf '%05d\n' 42; env -i A=1 env
