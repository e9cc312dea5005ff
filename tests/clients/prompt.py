"""`runner client` as a person uses it, in a terminal of its own: python3 prompt.py PROGRAM WHAT ADDRESS.

What is typed is followed by what has to appear. Where the whole screen is compared, a small terminal is played here.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import tempfile
import termios
import time

PROGRAM, WHAT, ADDRESS = sys.argv[1:4]
PATIENCE_S = 20
HOME = tempfile.mkdtemp()


class Terminal:
    def __init__(self, *args, **environment):
        self.child, self.screen = pty.fork()
        if self.child == 0:
            # Without a size the line editor would ask the terminal for one and wait for its answer.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
            # A test may have been started where this signal is ignored, and that is inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            kept = {name: value for name, value in os.environ.items() if name not in OWN}
            own = {"TERM": "xterm", "HOME": HOME, **environment}
            os.execvpe(PROGRAM, [PROGRAM, "client", *args], {**kept, **own})
        self.seen = ""
        self.all = ""

    def expect(self, *texts):
        """Waits for the texts, in order; they and what stands before them are done with."""
        for text in texts:
            deadline = time.monotonic() + PATIENCE_S
            while text not in self.seen:
                ready, _, _ = select.select([self.screen], [], [], max(0, deadline - time.monotonic()))
                assert ready, f"no {text!r} appeared after {self.seen!r}"
                assert self.read(), f"the client ended; expected {text!r} after {self.seen!r}"
            self.seen = self.seen.split(text, 1)[1]

    def read(self):
        try:
            read = os.read(self.screen, 65536).decode(errors="replace")
        except OSError:  # this is how a terminal says that its program is gone
            read = ""
        self.seen += read
        self.all += read
        return read

    def type(self, text, *texts):
        os.write(self.screen, text.encode())
        self.expect(*texts)

    def end(self):
        """Everything that is still written, and how the program ended."""
        while self.read():
            pass
        _, status = os.waitpid(self.child, 0)
        os.close(self.screen)
        return os.waitstatus_to_exitcode(status)


OWN = ("REDIS_URL", "RUNNER_STORE_PASSWORD", "NO_COLOR", "XDG_STATE_HOME")
CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\r\n\x07\x08])")


def screen(text):
    """The lines that a person sees, after everything has been drawn over."""
    lines, row, column = [""], 0, 0

    def put(piece):
        nonlocal column
        line = lines[row].ljust(column)
        lines[row] = line[:column] + piece + line[column + len(piece) :]
        column += len(piece)

    at = 0
    for found in CONTROL.finditer(text):
        put(text[at : found.start()])
        at = found.end()
        argument, letter, single = found.groups()
        count = int(argument) if argument and argument.isdigit() else 1
        if single == "\r":
            column = 0
        elif single == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif single == "\x08":
            column = max(0, column - 1)
        elif letter == "K":
            lines[row] = lines[row][:column]
        elif letter == "J":
            lines[row] = lines[row][:column]
            del lines[row + 1 :]
        elif letter == "C":
            column += count
        elif letter == "D":
            column = max(0, column - count)
        elif letter == "A":
            row = max(0, row - count)
        else:
            assert letter is None or letter in "mhl", f"the terminal was asked for {found.group()!r}"
    put(text[at:])
    return [line.rstrip() for line in lines]


def plain(text):
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)


def document():
    """The example session of the document, to the letter."""
    session = f"""\
Connected to server at {ADDRESS.removeprefix('text://')}
Enter command: SET user1 Alice
Server: OK: Set user1 = Alice
Enter command: SET user2 Bob
Server: OK: Set user2 = Bob
Enter command: GET user1
Server: OK: Alice
Enter command: LIST
Server: OK: Keys: user1, user2
Enter command: DELETE user1
Server: OK: Deleted user1
Enter command: QUIT
Exiting...
""".split("\n")
    # The second time with hints in colour, which are gone when a line is sent.
    for environment in ({"NO_COLOR": "1"}, {}):
        t = Terminal(ADDRESS, **environment)
        t.expect("Enter command: ")
        for line in session[1:]:
            if line.startswith("Enter command: "):
                t.type(line.removeprefix("Enter command: ") + "\r")
            elif line.startswith("Server: "):
                t.expect(line, "Enter command: ")
        equal(t.end(), 0)
        equal(screen(t.all), session)


def text_prompt():
    t = Terminal(ADDRESS)
    prompt = "Enter command: "
    t.expect("Connected to server at ", prompt)
    t.type("de\t", "DELETE")
    t.type(" nothing\r", "Server: ERROR: key not found: nothing\r\n", prompt)
    t.type("FOO\r", "Server: ERROR: unknown command 'FOO'", prompt)
    t.type("SET k ", "value")
    t.type("two words\r", "Server: OK: Set k = two words\r\n", prompt)
    t.type("GET unfinished\x03", prompt)
    t.type("GET k\r", "Server: OK: two words\r\n", prompt)
    t.type("\x04", "Exiting...")
    equal(t.end(), 0)


def resp_prompt():
    place = ADDRESS.removeprefix("redis://")
    prompt = f"{place}> "
    t = Terminal(ADDRESS, "--resp", "2", NO_COLOR="1")
    t.expect(prompt)
    t.type("SET greeting hello\r", "\nOK\r\n", prompt)
    t.type("GET greeting\r", '\n"hello"\r\n', prompt)
    t.type("get none\r", "\n(nil)\r\n", prompt)
    t.type("incr n\r", "\n(integer) 1\r\n", prompt)
    t.type("nosuch a\r", "\n(error) ERR unknown command 'nosuch', with args beginning with: 'a' \r\n", prompt)
    t.type('set quoted "a\\r\\nb\\x00"\r', "\nOK\r\n", prompt)
    t.type("get quoted\r", '\n"a\\r\\nb\\x00"\r\n', prompt)
    t.type("get 'open\r", "quotes are not balanced", prompt)
    t.type("rpush l a b\r", "\n(integer) 2\r\n", prompt)
    t.type("lrange l 0 -1\r", '\n1) "a"\r\n2) "b"\r\n', prompt)
    t.type("gets\t", "GETSET")
    t.type("\x15")
    t.type("config g\t", "CONFIG GET")
    t.type(" maxmemory\r", '\n1) "maxmemory"\r\n2) "0"\r\n', prompt)
    t.type("help get\r", "GET key\r\n", "summary: ", "since: ", "group: ", prompt)
    t.type("multi\r", "\nOK\r\n", f"{place}(TX)> ")
    t.type("incr n\r", "\nQUEUED\r\n", "(TX)> ")
    t.type("exec\r", "\n1) (integer) 2\r\n", prompt)
    t.type("select 3\r", "\nOK\r\n", f"{place}[3]> ")
    t.type("dbsize\r", "\n(integer) 0\r\n", "[3]> ")
    t.type("client reply off\r", "without replies", "[3]> ")
    # Ctrl-C leaves the subscription, and the database is still the same.
    t.type("subscribe news\r", "(press Ctrl-C to stop)\r\n", '1) "subscribe"\r\n2) "news"\r\n3) (integer) 1\r\n')
    publish("news", "one")
    t.expect('1) "message"\r\n2) "news"\r\n3) "one"\r\n')
    t.type("\x03", "[3]> ")
    t.type("select 0\r", "\nOK\r\n", prompt)
    t.type("monitor\r", "\nOK\r\n")
    publish("news", "two")
    t.expect('"publish" "news" "two"')
    t.type("\x03", prompt)
    # It leaves what is waited for, too.
    t.type("blpop nothing 0\r")
    wait_for_blocked()
    t.type("\x03", prompt)
    t.type("get half a li\x03", prompt)
    t.type("get greeting\r", '\n"hello"\r\n', prompt)
    # A connection that was lost is opened again, with the database.
    t.type("select 2\r", "\nOK\r\n", "[2]> ")
    lose_all_connections()
    t.type("dbsize\r", "the connection was lost and is opened again\r\n", "(integer) 0\r\n", "[2]> ")
    # What belongs to a transaction that was lost is not done at once instead.
    t.type("multi\r", "\nOK\r\n", "[2](TX)> ")
    lose_all_connections()
    t.type("set lost 1\r", "error: failed to go on with the transaction", "not connected> ")
    t.type("exists lost\r", "\n(integer) 0\r\n", "[2]> ")
    # A Ctrl-C that came too late for one command is not meant for the next one.
    os.kill(t.child, signal.SIGINT)
    t.type("echo still\r", '\n"still"\r\n', "[2]> ")
    # It leaves out the rest of a long reply, and nothing else.
    t.type("setrange long 5000000 x\r", "\n(integer) 5000001\r\n", "[2]> ")
    t.all = ""
    t.type("get long\r", "\\x00\\x00")
    t.type("\x03", "[2]> ")
    assert len(t.all) < 2_000_000, f"{len(t.all)} characters were shown"
    t.type("echo on\r", '\n"on"\r\n', "[2]> ")
    t.type("\x04")
    equal(t.end(), 0)

    t = Terminal(ADDRESS)
    t.expect(prompt)
    t.type("get ", "key")
    t.type("\x15")
    t.type("hset h f 1\r", "(integer) 1", prompt)
    t.type("hgetall h\r", '"f"', " => ", '"1"', prompt)
    t.type("sadd s x\r", "(integer) 1", prompt)
    t.type("smembers s\r", "1~", '"x"', prompt)
    t.type("zadd z 1.5 a\r", "(integer) 1", prompt)
    t.type("zscore z a\r", "(double) 1.5", prompt)
    t.type("info server\r", "redis_version:7.0.15\r\n", prompt)
    t.type("auth secret of mine\r", prompt)
    t.type("psubscribe n*\r", "1>", '"psubscribe"', "(integer) 1")
    publish("news", "three")
    t.expect('"pmessage"', '"three"')
    t.type("\x03", prompt)
    t.type("unsubscribe\r", '"unsubscribe"', prompt)
    # Before: colours by type.
    assert "\x1b[36m(integer) 1" in t.all and '\x1b[32m"x"' in t.all, t.all
    t.type("quit\r")
    equal(t.end(), 0)

    kept = open(f"{HOME}/.local/state/runner/history").read()
    assert "get greeting" in kept and "zscore z a" in kept and "secret" not in kept, kept
    # Lines of earlier conversations come back.
    t = Terminal(ADDRESS)
    t.expect(prompt)
    t.type("\x12zsc", "zscore z a")
    t.type("\r", "(double) 1.5", prompt)
    t.type("exit\r")
    equal(t.end(), 0)


def going_away():
    """The other side ends the server when it reads a line, and starts it again at the next."""
    place = ADDRESS.removeprefix("redis://")
    t = Terminal(ADDRESS, NO_COLOR="1")
    t.expect(f"{place}> ")
    t.type("set a 1\r", "\nOK\r\n", f"{place}> ")
    other_side("stop")
    t.type("get a\r", "error: failed to connect to ", "not connected> ")
    other_side("start")
    t.type("get a\r", "\n(nil)\r\n", f"{place}> ")
    t.type("\x04")
    equal(t.end(), 0)


def other_side(order):
    print(order, flush=True)
    assert sys.stdin.readline().strip() == "done"


def command(*args):
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    child = os.posix_spawn(PROGRAM, [PROGRAM, "client", ADDRESS, *args], kept)
    _, status = os.waitpid(child, 0)
    equal(status, 0)


def lose_all_connections():
    # When the second command is answered, the others have been closed.
    command("-e", "CLIENT KILL TYPE normal SKIPME yes", "-e", "PING")


def publish(channel, message):
    # Nobody listens before its own subscription is answered, and that was waited for.
    command("-e", f"publish {channel} {message}")


def wait_for_blocked():
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        said = os.popen(f"'{PROGRAM}' client '{ADDRESS}' -e 'INFO clients'").read()
        if "blocked_clients:1" in said:
            return
    raise AssertionError("nobody waits")


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


{"document": document, "text": text_prompt, "resp": resp_prompt, "away": going_away}[WHAT]()
print(f"passed {WHAT}")
