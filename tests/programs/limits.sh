# Failures that must come as on Linux.
/nonexistent; echo $?; /etc; echo $?; ./none; echo $?; echo 'garbage' > g; chmod +x g; ./g; echo $?; head -c 100 /bin/true > t; chmod +x t; ./t; echo $?
cat /nonexistent; mkdir /proc/x 2>/dev/null || echo no; rmdir / 2>/dev/null || echo no; ulimit -n 10; bash -c 'exec 20<&0' 2>/dev/null || echo limit
exec 3>&-; echo x >&3 || echo closed; read -t 0.1 x < /dev/zero; echo read
