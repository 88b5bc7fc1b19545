# The sandbox's own loopback: a web server and its clients, over TCP and a Unix socket; and a program with no library at all.
mkdir www; seq 1 50000 > www/numbers
/usr/bin/python3 - <<'END' &
import http.server, os, threading
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
with open("port.new", "w") as f: f.write(str(server.server_port))
os.rename("port.new", "port")
threading.Timer(60, os._exit, (1,)).start()
server.serve_forever()
END
server=$!
until [ -e port ]; do sleep 0.05; done
url=http://127.0.0.1:$(cat port)/www
curl -s $url/numbers | cmp - www/numbers && echo "same"
curl -s -o /dev/null -o /dev/null -w '%{http_code} %{size_download}\n' $url/numbers $url/none
seq 16 | xargs -P 8 -I{} curl -s -o /dev/null -w '%{http_code}\n' $url/numbers | sort | uniq -c | tr -s ' '
curl -s -r 10-19 $url/numbers | od -An -c | head -1; curl -s http://127.0.0.1:9/; echo "curl $?"
kill $server; wait $server 2>/dev/null; echo "server $?"
/usr/bin/python3 - <<'END'
import socket, threading
s = socket.socket(socket.AF_UNIX); s.bind("sock"); s.listen()
def serve():
    c, _ = s.accept()
    with c: c.sendall(c.recv(100).upper())
t = threading.Thread(target=serve); t.start()
c = socket.socket(socket.AF_UNIX); c.connect("sock"); c.sendall(b"unix"); print(c.recv(100)); t.join()
END
cp "$(command -v busybox)" busybox; ./busybox sh -c './busybox seq 5 | ./busybox sort -r | ./busybox tr "\n" " "'; ./busybox ls -d www; ./busybox wc -l < www/numbers
./busybox cat /proc/self/comm; ldd ./busybox 2>&1 | grep -c 'not a dynamic'
