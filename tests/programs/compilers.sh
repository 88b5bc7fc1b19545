# Compile, link and run: C in several files by make, C++ with exceptions and threads, static and dynamic, musl, Go, Rust.
cat > a.c <<'END'
#include <stdio.h>
int twice(int);
int main(void) { printf("C %d\n", twice(21)); return 0; }
END
echo 'int twice(int x) { return 2 * x; }' > b.c
printf 'prog: a.o b.o\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -c -o $@ $<\n' > Makefile
make -s -j2 && ./prog; gcc -static -o s a.c b.c && ./s; gcc -no-pie -o n a.c b.c && ./n; gcc -static-pie -o sp a.c b.c && ./sp; musl-gcc -o m a.c b.c && ./m; musl-gcc -static -o ms a.c b.c && ./ms
cat > x.cc <<'END'
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>
#include <atomic>
int main() {
    std::atomic<int> n{0};
    std::vector<std::thread> ts;
    for (int i = 0; i < 8; i++) ts.emplace_back([&] { try { throw std::runtime_error("x"); } catch (std::exception &) { n++; } });
    for (auto &t : ts) t.join();
    std::cout << "C++ " << n << "\n";
}
END
g++ -O1 -pthread -o x x.cc && ./x
cat > h.rs <<'END'
fn main() { let v: Vec<u32> = std::thread::spawn(|| (0..4).collect()).join().unwrap(); println!("Rust {v:?}"); }
END
export PATH=$PATH:$HOME/.cargo/bin:/root/.cargo/bin; rustc -o h h.rs && ./h
cat > h.go <<'END'
package main
import ("fmt"; "sync")
func main() { var wg sync.WaitGroup; c := make(chan int, 100); for i := 0; i < 100; i++ { wg.Add(1); go func(n int) { defer wg.Done(); c <- n }(i) }; wg.Wait(); fmt.Println("Go", len(c)) }
END
export GOCACHE=$PWD/cache GOFLAGS=-mod=mod GO111MODULE=off; go build -o g h.go && ./g
printf '#!/bin/sh\necho script $1\n' > script; chmod +x script; ./script arg
