"""Kafka's jars in the user's cache directory.

Invariant: a jar is handed out only when its bytes have the locked checksum; a half written one is
never seen under its own name, also with several processes downloading at once.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from saec.embedded.errors import DownloadError, optional_module
from saec.embedded.lockfile import KAFKA_VERSION, Jar, read_lock

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
PARALLEL_DOWNLOADS = 6
ATTEMPTS = 3
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60

Progress = Callable[[str], None]


def cache_dir() -> Path:
    """Where jars are kept: SAEC_CACHE_DIR, or the user's cache directory."""
    if chosen := os.environ.get("SAEC_CACHE_DIR"):
        return Path(chosen)
    return Path(optional_module("platformdirs").user_cache_path("saec"))


def repository_url() -> str:
    """Where jars come from: SAEC_MAVEN_URL (a mirror), or Maven Central."""
    return os.environ.get("SAEC_MAVEN_URL", MAVEN_CENTRAL)


def shown_url() -> str:
    """The same for people: without a user and a password."""
    parts = urlsplit(repository_url())
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def to_stderr(text: str) -> None:
    """Show progress: one line that is written over on a terminal, else a line each."""
    start, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
    sys.stderr.write(f"{start}{text}{end}")
    sys.stderr.flush()


def ensure_jars(section: str, progress: Progress = to_stderr) -> tuple[Path, ...]:
    """The jars of one section of kafka.lock, verified, downloaded where absent or damaged."""
    directory = cache_dir() / f"kafka-{KAFKA_VERSION}"
    jars = read_lock(section)
    wanted = [jar for jar in jars if not jar.matches(directory / jar.file_name)]
    if wanted:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DownloadError(
                f"{directory} cannot hold downloads: {error.strerror}; set SAEC_CACHE_DIR"
            ) from None
        _download_all(wanted, directory, progress)
    return tuple(directory / jar.file_name for jar in jars)


def _download_all(jars: Sequence[Jar], directory: Path, progress: Progress) -> None:
    size_mb = sum(jar.size_bytes for jar in jars) / 1e6
    title = f"Downloading Apache Kafka {KAFKA_VERSION} to {directory}: {size_mb:.0f} MB"
    progress(title)
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        downloads = [pool.submit(_fetch, jar, directory) for jar in jars]
        try:
            for done, download in enumerate(as_completed(downloads), start=1):
                download.result()
                if sys.stderr.isatty() or done == len(jars):
                    progress(f"{title}, {done} of {len(jars)} jars")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            if progress is to_stderr and sys.stderr.isatty():
                sys.stderr.write("\n")


def _fetch(jar: Jar, directory: Path) -> None:
    """Download one jar beside its place, verify it, move it there."""
    handle, name = tempfile.mkstemp(dir=directory, prefix=f".{jar.artifact}-")
    os.close(handle)
    temporary = Path(name)
    try:
        _download(jar, temporary)
        temporary.chmod(0o644)
        temporary.replace(directory / jar.file_name)
    finally:
        temporary.unlink(missing_ok=True)


def _download(jar: Jar, path: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        path.unlink(missing_ok=True)  # the library asks Maven Central about a file that is there
        try:
            download_unverified(jar, path)
        except DownloadError:
            if attempt == ATTEMPTS:
                raise
            continue
        if jar.matches(path):
            return
    raise DownloadError(
        f"{jar.coordinates} from {shown_url()} is not the locked file: its SHA-256 differs. "
        "Nothing was kept. If you use a mirror (SAEC_MAVEN_URL) or a proxy, it alters files; "
        f"otherwise put the right file into {cache_dir() / f'kafka-{KAFKA_VERSION}'} yourself."
    )


def download_unverified(jar: Jar, path: Path) -> None:
    """Download one jar from the repository to `path`, whatever its bytes are."""
    maven = optional_module("maven_artifact")
    try:
        artifact = maven.Artifact(jar.group, jar.artifact, jar.version)
        _downloader(maven).download(artifact, filename=os.fspath(path))
    except Exception as error:  # the library raises its own, requests' and OSError
        raise DownloadError(
            f"Could not download {jar.coordinates} from {shown_url()}: "
            f"{_without_login(_innermost(error))}. Check the connection (HTTPS_PROXY is "
            "respected), point SAEC_MAVEN_URL at a mirror of Maven Central, or use Docker or a "
            "Kafka of your own; what was downloaded is kept, so trying again continues."
        ) from None  # what it rests on quotes the address, and with it a password


def _without_login(text: str) -> str:
    """The library and what is below it quote addresses."""
    login = urlsplit(repository_url()).netloc.rpartition("@")[0]
    for secret in (login, *login.split(":")):
        text = text.replace(secret, "…") if secret else text
    return text


def _innermost(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


def _close_refusal(response: Any, *_args: Any, **_options: Any) -> None:
    """The library forgets a connection whose answer it does not read."""
    if not response.ok:
        response.close()


def _downloader(maven: Any) -> Any:
    """The library's downloader, made silent, bounded and tidy."""

    class BoundedRequestor(maven.Requestor):  # type: ignore[misc]
        def request(self, *args: Any, **options: Any) -> Any:
            options.setdefault("timeout", (CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
            options.setdefault("hooks", {"response": _close_refusal})
            return super().request(*args, **options)

    maven.downloader.print = lambda *_args, **_options: None
    downloader = maven.Downloader(base=repository_url())
    downloader.requestor = downloader.resolver.requestor = BoundedRequestor()
    return downloader
