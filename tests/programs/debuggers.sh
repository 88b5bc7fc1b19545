# Debuggers: breakpoints, steps, threads, a running process; every system call of a pipeline. Addresses and thread ids differ.
cat > p.c <<'END'
#include <pthread.h>
#include <stdio.h>
static int counter;
static int square(int x)
{
	int y = x * x;
	counter += y;
	return y;
}
static void *body(void *arg)
{
	square(*(int *)arg);
	return NULL;
}
int main(void)
{
	int total = 0, five = 5;
	for (int i = 1; i <= 3; i++)
		total += square(i);
	pthread_t t;
	pthread_create(&t, NULL, body, &five);
	pthread_join(t, NULL);
	printf("total %d counter %d\n", total, counter);
	return 3;
}
END
gcc -g -O0 -o p p.c -lpthread
plain() { sed -E 's/0x[0-9a-f]+/ADDR/g; s/LWP [0-9]+/LWP N/g; s/process [0-9]+/process N/g; s/ +Id +Target Id +Frame/Id/; s/ +/ /g'; }
cat > script <<'END'
set pagination off
set confirm off
set width 0
break main
run > out
next
break square if x == 2
continue
bt
print x
finish
print counter
watch counter
continue
delete
break body
continue
step
bt
up
print *(int *)arg
set var counter = 100
delete
continue
END
timeout 60 gdb -nx -q -batch -x script ./p 2>&1 | plain | grep -v 'debuginfod\|Reading symbols'; cat out
cat > loop.c <<'END'
#include <unistd.h>
volatile int going = 1, turns;
int main(void) { while (going) { turns++; usleep(1000); } return 4; }
END
gcc -g -O0 -o loop loop.c; ./loop & loop=$!; sleep 0.3
timeout 60 gdb -nx -q -batch -p $loop -ex 'print turns > 0' -ex 'print going = 0' -ex detach 2>&1 | grep '^\$'; wait $loop; echo "loop $?"
timeout 60 gdb -nx -q -batch -ex run -ex bt --args sh -c 'kill -SEGV $$' 2>&1 | grep -o 'received signal SIGSEGV, Segmentation fault'
cat > pipe.sh <<'END'
echo hello | cat | tr a-z A-Z
ls / > /dev/null
(exit 3); echo $?
END
strace -ff -qq -e signal=none -e trace=execve,exit_group,kill -o trace sh pipe.sh
cat trace.* | sed -E 's/0x[0-9a-f]+ \/\* [0-9]+ vars \*\//ENV/; s/ +/ /g' | sort
strace -c -f sh pipe.sh 2>&1 | grep -c execve; strace -e trace=getpid,getppid,gettid perl -e 'getppid for 1..20' 2>&1 | grep -c getppid
strace -e inject=write:error=ENOSPC echo lost 2>&1 | grep -o 'ENOSPC.*INJECTED' | head -1
