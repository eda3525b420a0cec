"""What the parts of tools/soak share: a cache of its own, the program, and its text."""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HETUNE = os.path.abspath(os.environ.get("HETUNE", os.path.join(ROOT, "build/bin/hetune")))
MODEL = os.path.join(ROOT, "tests/models/tiny-Q4_K_M.gguf")
RUN = ["run", MODEL, "--backend", "cpu", "-p", "def main", "-n", "12", "--ignore-end", "--temp", "0"]
# A few kernels of one phase, so that a tuning is there within seconds.
TUNE = ["autotune", MODEL, "--backend", "cpu", "--phase", "decode", "--kernel", "gemv_*",
        "--kernels-only", "--budget", "20s"]
SECONDS = 120  # of a run: more is a hang


def count(default):
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def environment(cache, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HETUNE_")}
    return {**kept, "HETUNE_CACHE_DIR": cache, **more}


class Result:
    """Of a run to its end: exit code (negative: a signal; None: a hang), stdout, stderr."""

    def __init__(self, cache, arguments, **more):
        process = subprocess.Popen([HETUNE, *arguments], env=environment(cache, **more),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, start_new_session=True)
        try:
            self.out, self.err = process.communicate(timeout=SECONDS)
            self.code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.out, self.err = process.communicate()
            self.code = None

    def says(self):
        lines = self.err.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def must(cache, arguments, **more):
    result = Result(cache, arguments, **more)
    if result.code != 0:
        sys.exit(f"{' '.join(arguments)}: exit {result.code}: {result.says()}")
    return result.out


class Folder:
    """A folder that is gone in the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="soak-")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


rng = random.Random(int(os.environ.get("SOAK_SEED", "1")))
