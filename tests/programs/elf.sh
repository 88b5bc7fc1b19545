# Damaged programs: cut short at many lengths, and with headers of rubbish. The shell that runs them must live on.
for n in 0 1 4 16 52 63 64 65 100 119 120 200 500 700 1000 4096 5000 9000 20000; do
    head -c $n /bin/true > t; chmod +x t; ./t 2>/dev/null; echo "$n: $?"
done
/usr/bin/python3 - <<'END'
import os, random, subprocess
random.seed(1)
whole = open("/bin/true", "rb").read()
for n in range(150):
    bytes_ = bytearray(whole)
    for _ in range(random.randint(1, 12)):
        bytes_[random.randrange(4, 64 + 56 * 13)] = random.choice([0, 1, 0x7f, 0x80, 0xff, random.randrange(256)])
    with open("m", "wb") as f: f.write(bytes_)
    os.chmod("m", 0o755)
    try: subprocess.run(["./m"], timeout=5, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired): pass
print("alive")
END
