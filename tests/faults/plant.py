#!/usr/bin/env python3
"""Would the tests notice? Plants the faults of faults.txt in the CUDA kernels, one at a time, and runs their tests.

    tests/faults/plant.py [--build DIR] [--only NAME,...] [--again] [--check] [--list]

DIR (default build/release) is a build of this tree by Ninja. For each fault one source is compiled to PTX in a changed copy
of cuda/ and linked with the other objects of the build into a plug-in of its own; then the tests that the entry names run on
it until one of them complains. The tree and the build stay as they are. Before that, the same tests must pass on the plug-in
as it is. Results are kept in DIR/faults/results.jsonl: an interrupted run goes on, and an entry that was caught runs again
when it or its source has changed. --only takes names and patterns (rope.*), --again forgets their results, --check only looks
whether every entry still fits the source. Leaves with 1 when less than 95 % are caught, when a fault survives whose entry
does not say why, or when one does not compile."""
import argparse
import fnmatch
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TABLE = os.path.join(ROOT, "tests", "faults", "faults.txt")
WANTED = 0.95


class Fault:
    """An entry of the table: what is wrong, where, which tests should see it, and why none may."""

    def __init__(self, line, header):
        parts = [part.strip() for part in header[2:].split("|")]
        if len(parts) != 4:
            sys.exit(f"{TABLE}:{line}: expected '@@ name | file [-> compiled file] | tests | what is wrong'")
        self.line, self.name, self.what = line, parts[0], parts[3]
        self.family = self.name.split(".")[0]
        self.file, _, compiled = (part.strip() for part in parts[1].partition("->"))
        self.compiled = compiled or self.file
        self.tests = parts[2].split()
        self.reason, self.old, self.new = "", [], []

    def add(self, line, text):
        mark, rest = text[0], text[1:].strip()
        if mark not in " -+~":
            sys.exit(f"{TABLE}:{line}: a line begins with '-', '+', a space or '~'")
        if mark == "~":
            self.reason = f"{self.reason} {rest}".strip()
        if mark in " -":
            self.old.append(rest)
        if mark in " +":
            self.new.append(rest)

    def plant(self, source):
        """Makes `text` and `key` of the file's source. Its lines, compared without their indentation, must occur once."""
        lines = source.split("\n")
        bare, n = [text.strip() for text in lines], len(self.old)
        places = [i for i in range(len(bare) - n + 1) if bare[i:i + n] == self.old]
        if n == 0 or self.old == self.new:
            raise ValueError("changes nothing")
        if len(places) != 1:
            raise ValueError(f"its lines occur {len(places)} times in {self.file}, expected once: {self.old[0]}")
        self.text = "\n".join(lines[:places[0]] + self.new + lines[places[0] + n:])
        self.key = digest(self.text.encode(), " ".join(self.tests).encode())


def digest(*parts):
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def read_table():
    faults, errors = [], []
    for number, text in enumerate(contents(TABLE).decode().split("\n"), 1):
        if text.startswith("@@"):
            faults.append(Fault(number, text))
        elif text.strip() and not text.startswith("#"):
            if not faults:
                sys.exit(f"{TABLE}:{number}: belongs to no entry")
            faults[-1].add(number, text)
    names = [fault.name for fault in faults]
    for fault in faults:
        try:
            fault.plant(contents(os.path.join(ROOT, fault.file)).decode())
            if names.count(fault.name) > 1:
                raise ValueError("another entry has this name")
        except (ValueError, OSError) as error:
            errors.append(f"{TABLE}:{fault.line}: {fault.name}: {error}")
    if errors:
        sys.exit("\n".join(errors))
    return faults


class Build:
    """A build folder: how it compiles and links the plug-in, and which tests it has."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.work = os.path.join(self.folder, "faults")
        os.makedirs(self.work, exist_ok=True)
        commands = os.path.join(self.folder, "compile_commands.json")
        if not os.path.exists(commands) or not os.path.exists(os.path.join(self.folder, "build.ninja")):
            sys.exit(f"{self.folder}: no build by Ninja with compile_commands.json (the presets make one)")
        self.commands = {c["file"]: shlex.split(c["command"]) for c in json.loads(contents(commands))}
        if os.path.join(ROOT, "cuda/device.cu") not in self.commands:
            sys.exit(f"{self.folder}: a build of another tree, or without the CUDA backend")
        self.link = self.output("ninja", "-t", "commands", "libmneme_cuda.so").strip().split("\n")[-1]
        self.plugin = os.path.join(self.folder, "libmneme_cuda.so")

    def output(self, *command):
        return subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True).stdout

    def command(self, test):
        """A test's program and arguments, and its environment; `test` may be NAME:FUNCTION."""
        name, _, function = test.partition(":")
        if name not in self.tests:
            sys.exit(f"{TABLE}: {self.folder} has no test {name}")
        properties = {p["name"]: p["value"] for p in self.tests[name].get("properties", [])}
        environment = dict(os.environ, **dict(v.split("=", 1) for v in properties.get("ENVIRONMENT", [])))
        if function:
            environment["MNEME_TEST_ONLY"] = function
        return self.tests[name]["command"], environment, properties.get("WORKING_DIRECTORY", self.folder)

    def make(self, tests):
        """What the tests need, up to date; only then does ctest know their programs."""
        names = {test.partition(":")[0] for test in tests}
        programs = {re.sub(r"^cuda_kernels_([a-z_]+?)(_\d+)?$", r"test_kernels_\1", name) for name in names}
        targets = {name if name.startswith("test_") else "mneme_program" for name in programs} | {"mneme_cuda"}
        if re.search(r"^simgpu: ", self.output("ninja", "-t", "targets", "all"), re.MULTILINE):
            targets.add("simgpu")
        subprocess.run(["cmake", "--build", self.folder, "--target", *sorted(targets)], check=True,
                       stdout=subprocess.DEVNULL)
        listed = json.loads(self.output("ctest", "--show-only=json-v1"))["tests"]
        self.tests = {test["name"]: test for test in listed if "command" in test}

    def plant(self, name, text, compiled):
        """A plug-in in which the file has this text; or None, and what the compiler said."""
        copy, changed = os.path.join(self.work, "tree"), os.path.join(self.work, "planted.o")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(os.path.join(ROOT, "cuda"), os.path.join(copy, "cuda"))
        with open(os.path.join(copy, name), "w", encoding="utf-8") as file:
            file.write(text)
        source = os.path.join(ROOT, compiled)
        command = [word for word in self.commands[source]
                   if not re.match(r"--?generate-code|-Xptxas|--Werror|-Xcompiler=-Werror", word)]
        command[command.index("-o") + 1] = changed
        command[command.index(source)] = os.path.join(copy, compiled)
        command[1:1] = ["-I" + copy, "--generate-code=arch=compute_80,code=[compute_80]"]
        made = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode:
            return None, made.stdout
        plugin, original = os.path.join(self.work, "libmneme_cuda.so"), f"CMakeFiles/mneme_cuda.dir/{compiled}.o"
        link = self.link.replace("-o libmneme_cuda.so", "-o " + shlex.quote(plugin))
        subprocess.run(["sh", "-c", link.replace(original, shlex.quote(changed))], cwd=self.folder, check=True)
        return plugin, ""

    def run(self, test, plugin, limit):
        """None when the test passes; else (how it was seen, what was said). Ends it at its first complaint, and after
        `limit` seconds of processor time: the machine may be busy with other things."""
        command, environment, folder = self.command(test)
        environment["MNEME_CUDA_PLUGIN"] = plugin
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", start_new_session=True,
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5)))
        seen, ran, last = None, False, ""
        for line in process.stdout:
            line, before = line.strip(), last
            last = line or last
            ran = ran or re.search(r"\[  PASSED  \] [1-9][0-9]* test|^ok ", line) is not None
            report = re.match(r"simgpu: (?:ERROR|warning): (.*)", line)
            failure = re.match(r"ERROR: (.*)|\[  ERROR   \] --- (.*)|(not ok .*)", line)
            if report:
                seen = ("simulator", report.group(1))
            elif failure:
                text = next(group for group in failure.groups() if group is not None)
                seen = ("comparison", f"{before} {text}" if text.startswith("[   LINE") else text)
            if seen:
                os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so that the number is still its own
                break
        process.stdout.close()
        status = process.wait()
        if seen:
            return seen
        if status == -signal.SIGXCPU:
            return "time", f"not done in {limit} s of processor time"
        if status in (-signal.SIGKILL, 77) or (status == 0 and not ran):
            sys.exit(f"{test} was killed, skipped or empty: {last}")
        return ("status", f"left with {status}: {last}") if status else None


class Results:
    """What earlier runs found, in a file of JSON lines; the last line of a key counts."""

    def __init__(self, path):
        self.path, self.known = path, {}
        if os.path.exists(path):
            for line in contents(path).decode().split("\n"):
                if line:
                    row = json.loads(line)
                    self.known[row["key"]] = row

    def add(self, row):
        self.known[row["key"]] = row
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def control(build, results, tests):
    """The tests pass on a plug-in that is made in the same way but without a fault. Returns how long each takes."""
    seconds, file = {}, "cuda/plugin.cu"
    plugin, said = build.plant(file, contents(os.path.join(ROOT, file)).decode(), file)
    if not plugin:
        sys.exit(said)
    for test in tests:
        program = build.command(test)[0][-1]
        key = digest(contents(build.plugin), contents(program), test.encode())
        if key not in results.known:
            start = time.monotonic()
            seen = build.run(test, plugin, 3600)
            if seen:
                sys.exit(f"{test} does not pass without a fault: {seen[0]}: {seen[1]}")
            results.add({"key": key, "control": test, "seconds": round(time.monotonic() - start, 1)})
            print(f"control   {test} passes without a fault, {results.known[key]['seconds']:.0f} s", flush=True)
        seconds[test] = results.known[key]["seconds"]
    return seconds


def try_fault(build, fault, seconds):
    start = time.monotonic()
    row = {"key": fault.key, "fault": fault.name, "outcome": "survived", "by": "", "how": "", "said": ""}
    plugin, said = build.plant(fault.file, fault.text, fault.compiled)
    if not plugin:
        row.update(outcome="does not compile", said=said[-2000:])
        print(said)
    for test in fault.tests if plugin else []:
        seen = build.run(test, plugin, 60 + 15 * int(seconds[test]))
        if seen:
            row.update(outcome="caught", by=test, how=seen[0], said=seen[1][:300])
            break
    row["seconds"] = round(time.monotonic() - start, 1)
    return row


def summary(faults, results):
    rows = [(fault, results.known.get(fault.key)) for fault in faults]
    done = [(fault, row) for fault, row in rows if row]
    caught = [fault for fault, row in done if row["outcome"] == "caught"]
    print(f"\n{'family':<12} {'caught':>9}   by the simulator's reports, by comparison, other")
    for family in dict.fromkeys(fault.family for fault in faults):
        mine = [row for fault, row in done if fault.family == family]
        how = [row["how"] for row in mine if row["outcome"] == "caught"]
        reports, compared = how.count("simulator"), how.count("comparison")
        print(f"{family:<12} {len(how):>3} of {len(mine):>2}   {reports}, {compared}, {len(how) - reports - compared}")
    print(f"{'all':<12} {len(caught):>3} of {len(done):>2}   {len(rows) - len(done)} not run yet")
    bad = False
    for fault, row in done:
        if row["outcome"] != "caught":
            unexplained = row["outcome"] != "survived" or not fault.reason
            bad = bad or unexplained
            print(f"{row['outcome']}: {fault.name}: {fault.what}. {'NO REASON GIVEN' if unexplained else fault.reason}")
    return len(done) < len(rows) or bad or len(caught) < WANTED * len(done)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--only", default="*")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    patterns = options.only.split(",")
    faults = [fault for fault in read_table() if any(fnmatch.fnmatchcase(fault.name, p) for p in patterns)]
    if not faults:
        sys.exit(f"{TABLE}: no entry is called {options.only}")
    if options.list:
        print("\n".join(f"{fault.name:<32} {fault.file:<32} {fault.what}" for fault in faults))
    if options.list or options.check:
        return 0
    os.nice(10)
    build = Build(options.build)
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    build.make(tests)
    results = Results(os.path.join(build.work, "results.jsonl"))
    todo = [fault for fault in faults
            if options.again or results.known.get(fault.key, {}).get("outcome") != "caught"]
    seconds = control(build, results, list(dict.fromkeys(test for fault in todo for test in fault.tests)))
    for number, fault in enumerate(todo, 1):
        row = try_fault(build, fault, seconds)
        results.add(row)
        print(f"{number:>3}/{len(todo)} {row['outcome']:<9} {fault.name:<32} {row['seconds']:>4.0f} s  {row['by']}"
              f" {row['how']}: {row['said'].splitlines()[0][:110] if row['said'] else ''}", flush=True)
    return summary(faults, results)


if __name__ == "__main__":
    sys.exit(main())
