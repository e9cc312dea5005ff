"""redis-cli as a person uses it, in a terminal of its own: python3 terminal.py PORT.

What is typed is followed by what has to appear; between them lies whatever the line editor draws.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

PORT = sys.argv[1]
PATIENCE_S = 20


class Terminal:
    def __init__(self, *args):
        self.child, self.screen = pty.fork()
        if self.child == 0:
            # Without a size the line editor would ask the terminal for one and wait for its answer.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
            # A test may have been started where this signal is ignored, and that is inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            quiet = {"TERM": "xterm", "REDISCLI_HISTFILE": "/dev/null", "REDISCLI_RCFILE": "/dev/null"}
            os.execvpe("redis-cli", ["redis-cli", "-p", PORT, *args], {**os.environ, **quiet})
        self.seen = ""

    def expect(self, *texts):
        """Waits for the texts, in order; they and what stands before them are done with."""
        for text in texts:
            deadline = time.monotonic() + PATIENCE_S
            while text not in self.seen:
                ready, _, _ = select.select([self.screen], [], [], max(0, deadline - time.monotonic()))
                assert ready, f"no {text!r} appeared after {self.seen!r}"
                try:
                    read = os.read(self.screen, 65536)
                except OSError:  # this is how a terminal says that its program is gone
                    read = b""
                assert read, f"redis-cli ended; expected {text!r} after {self.seen!r}"
                self.seen += read.decode(errors="replace")
            self.seen = self.seen.split(text, 1)[1]

    def type(self, text, *texts):
        os.write(self.screen, text.encode())
        self.expect(*texts)

    def end(self, name=None):
        if name:
            os.kill(self.child, name)
        _, status = os.waitpid(self.child, 0)
        os.close(self.screen)
        return status


def interactive():
    t = Terminal()
    prompt = f"127.0.0.1:{PORT}> "
    t.expect(prompt)
    t.type("SET greeting hello\r", "\nOK\r\n", prompt)
    t.type("GET greeting\r", '\n"hello"\r\n', prompt)
    t.type("get none\r", "\n(nil)\r\n", prompt)
    t.type("incr n\r", "\n(integer) 1\r\n", prompt)
    t.type("nosuch a b\r", "\n(error) ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n", prompt)
    t.type("rpush l a b\r", "\n(integer) 2\r\n", prompt)
    t.type("lrange l 0 -1\r", '\n1) "a"\r\n2) "b"\r\n', prompt)
    t.type("lrange l 5 9\r", "\n(empty array)\r\n", prompt)
    t.type('set quoted "a\\r\\nb\\x00"\r', "\nOK\r\n", prompt)
    t.type("get quoted\r", '\n"a\\r\\nb\\x00"\r\n', prompt)
    # What a command takes is shown while it is typed.
    t.type("get ", "key")
    t.type("\x15", prompt)
    t.type("help get\r", "summary:", "since:", "group:", prompt)
    t.type("gets\t", "GETSET")
    t.type("\x15", prompt)
    t.type("3 incr n\r", "(integer) 2\r\n", "(integer) 3\r\n", "(integer) 4\r\n", prompt)
    t.type("multi\r", "\nOK\r\n", f"127.0.0.1:{PORT}(TX)> ")
    t.type("incr n\r", "\nQUEUED\r\n", "(TX)> ")
    t.type("nosuch\r", "\n(error) ERR", "(TX)> ")
    t.type("exec\r", "\n(error) EXECABORT Transaction discarded because of previous errors.\r\n", prompt)
    t.type("multi\r", "\nOK\r\n", "(TX)> ")
    t.type("incr n\r", "\nQUEUED\r\n", "(TX)> ")
    t.type("exec\r", "\n1) (integer) 5\r\n", prompt)
    t.type("select 3\r", "\nOK\r\n", f"127.0.0.1:{PORT}[3]> ")
    t.type("dbsize\r", "\n(integer) 0\r\n", "[3]> ")
    t.type("select 0\r", "\nOK\r\n", prompt)
    t.type("hset h f 1\r", "\n(integer) 1\r\n", prompt)
    t.type("hello 3\r", '1# "server" => "redis"\r\n', '2# "version" => "7.0.15"\r\n', prompt)
    t.type("hgetall h\r", '\n1# "f" => "1"\r\n', prompt)
    t.type("sadd s x\r", "\n(integer) 1\r\n", prompt)
    t.type("smembers s\r", '\n1~ "x"\r\n', prompt)
    t.type("zadd z 1.5 a\r", "\n(integer) 1\r\n", prompt)
    t.type("zscore z a\r", "\n(double) 1.5\r\n", prompt)
    t.type("hello 2\r", ' 1) "server"\r\n', prompt)
    t.type("blpop none 0.01\r", "\n(nil)\r\n", prompt)
    t.type("subscribe news\r", "Reading messages... (press Ctrl-C to quit)\r\n", '1) "subscribe"\r\n2) "news"\r\n3) (integer) 1\r\n')
    # Interrupted, it connects again.
    t.type("\x03", prompt)
    t.type("monitor\r", "\nOK\r\n")
    t.type("\x03", prompt)
    t.type("get greeting\r", '\n"hello"\r\n', prompt)
    t.type("exit\r")
    equal(t.end(), 0)

    t = Terminal("-3")
    t.expect(prompt)
    t.type("client kill id 999999\r", "\n(integer) 0\r\n", prompt)
    t.type("exit\r")
    equal(t.end(), 0)


def rolling():
    t = Terminal("-i", "0.01", "--stat")
    t.expect("keys       mem      clients blocked requests            connections")
    # Five lines, each with the number of requests that came since the last one.
    t.expect(*["(+1)"] * 5)
    t.end(signal.SIGTERM)

    t = Terminal("--latency")
    t.expect("min: ", ", max: ", ", avg: ", " samples)")
    t.end(signal.SIGTERM)


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


for run in (interactive, rolling):
    run()
    print(f"passed {run.__name__}")
