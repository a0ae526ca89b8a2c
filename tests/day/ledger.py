"""What was judged, who was told, and what is missing: read from the collector and from who was told."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bed import Failed
from sinks import Mail
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

#: Between two looks.
LOOK_S = 1.0

#: Who is told every rule, by the day's settings.
ADMINS = ("mail", "webhook", "slack", "mattermost", "alertmanager")

#: Columns of the table: outlets of single verdicts, in the collector's words, and ours.
COLUMNS = {
    "lab": "JupyterLab",
    "user_mail": "mail to user",
    "mail": "mail to admins",
    "webhook": "webhook",
    "slack": "Slack",
    "mattermost": "Mattermost",
    "alertmanager": "Alertmanager",
}

#: What becomes of a verdict that is told, and of a server that is to be stopped.
PHASES = ("opened", "worse", "again", "cleared", "quarter", "last")

#: What happens beside.
DIGEST = "a digest of several notices in one mail"
ACKNOWLEDGED = "a notice is acknowledged"
MUTED = "a rule is muted"
MESSAGE = "a message of an admin's"
STOPPED = "an idle server is warned, then stopped"
HELD = "a held server is kept, as idle as the other"
QUIET = "quiet hours: mail that is not critical waits for their end"
CAPPED = "a day's cap: what is beyond it is not mailed, and the last mail says so"
DEEDS = (DIGEST, ACKNOWLEDGED, MUTED, MESSAGE, STOPPED, HELD, QUIET, CAPPED)

#: What the last mail to a user ends with.
LAST_WORDS = "This was the last mail about your server"


class Ledger:
    """Everything that was seen, in the order in which it was."""

    def __init__(self, place: dict[str, Any], mail: Mail):
        self._api = f"http://127.0.0.1:{place['service_port']}/services/hubmeter"
        self._token, self._mail = place["script_token"], mail
        self._log = Path(place["dir"], "day.log").open("w")
        self.begun = datetime.now(timezone.utc)
        self._quiet_until = datetime.fromtimestamp(place["quiet_until"], timezone.utc)
        self.verdicts: dict[str, dict[str, Any]] = {}
        self.notices: dict[int, dict[str, Any]] = {}
        self.shown: list[tuple[datetime, str, dict[str, Any]]] = []
        self.posts: list[tuple[str, Any]] = []
        self.mails: list[tuple[str, Any]] = []
        self.rules: list[str] = []
        self.sent: dict[str, int] = {}
        #: What is done beside notices, and what was seen of it.
        self.done: dict[str, str] = dict.fromkeys(DEEDS, "–")

    def say(self, text: str) -> None:
        line = f"{datetime.now(timezone.utc):%H:%M:%S}  {text}"
        print(line, flush=True)
        print(line, file=self._log, flush=True)

    # --- what is asked ---

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The collector's answer; text where it is no JSON."""
        request = HTTPRequest(
            self._api + path,
            method=method,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            request_timeout=60,
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        if answer.code >= 400:
            raise Failed(f"{method} {path}: {answer.code} {answer.body[:300]!r}")
        text = answer.body.decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    async def follow(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look()
            except (Failed, OSError) as error:
                self.say(f"cannot look: {error}")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        for verdict in (await self.ask("GET", "/api/v1/verdicts?state=all&limit=5000"))["items"]:
            self._judged(verdict)
        for notice in (await self.ask("GET", "/api/v1/notices?limit=5000"))["items"]:
            self.notices[notice["id"]] = notice
        for file, mail in self._mail.new():
            self.mails.append((file, mail))
            self.say(f"  mail to {mail['To']}: {mail['Subject']} ({file})")
        metrics = await self.ask("GET", "/metrics")
        # The collector's own lists, so that what is new there is missing here until it has a scene.
        self.rules = re.findall(r'^hubmeter_verdicts\{rule="(\w+)"\}', metrics, re.M)
        sent = re.findall(
            r'^hubmeter_notices_total\{outlet="(\w+)",outcome="sent"\} (\d+)', metrics, re.M
        )
        self.sent = {outlet: int(count) for outlet, count in sent}

    def _judged(self, verdict: dict[str, Any]) -> None:
        before = self.verdicts.get(verdict["episode"])
        self.verdicts[verdict["episode"]] = verdict
        about = f"{verdict['rule']} of {verdict['user'] or 'the hub'}"
        if before is None:
            named = f", {verdict['workload']['name']}" if isinstance(verdict["workload"], dict) else ""
            self.say(f"{about}: {verdict['severity']}{named}")
        elif before["severity"] != verdict["severity"]:
            self.say(f"{about}: {verdict['severity']} now")
        if verdict["cleared"] and not (before and before["cleared"]):
            self.say(f"{about}: over")

    # --- what comes by itself ---

    def saw(self, user: str, event: dict[str, Any]) -> None:
        """JupyterLab of `user` shows a notice."""
        self.shown.append((datetime.now(timezone.utc), user, event))
        words = " ".join(event["text"].split())
        self.say(f"  JupyterLab of {user}: {'over: ' if event['cleared'] else ''}{words}")

    def posted(self, where: str, body: Any) -> None:
        self.posts.append((where, body))

    # --- what is waited for ---

    async def until(self, what: str, holds: Callable[[], Any], seconds: float) -> Any:
        late = time.monotonic() + seconds
        while not (found := holds()):
            if time.monotonic() > late:
                raise Failed(f"{what}: not within {seconds:.0f} s")
            await asyncio.sleep(0.2)
        return found

    async def verdict(self, rule: str, user: str, seconds: float, over: bool = False) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            of = [v for v in self.verdicts.values() if (v["rule"], v["user"]) == (rule, user)]
            return next((v for v in of if v["cleared"] or not over), None)

        what = f"{rule} of {user}{' is over' if over else ''}"
        return await self.until(what, found, seconds)

    def told(self, phase: str, user: str | None = None, rule: str | None = None) -> list[dict[str, Any]]:
        """Notices that somebody took."""
        return [
            notice
            for notice in self.notices.values()
            if notice["phase"] == phase
            and notice["sent"]
            and user in (None, notice["user"])
            and rule in (None, notice["rule"])
        ]

    # --- what came of it ---

    def quiet(self) -> str:
        """What waited for the end of the quiet hours; nothing while not all of it did."""
        mails = [n for n in self.notices.values() if n["channel"] in ("mail", "user-mail") and n["sent"]]
        # What was no emergency when it was written may be one by now, and then does not wait.
        worst = {e: verdict["severity"] for e, verdict in self.verdicts.items()}
        calm = [n for n in mails if "critical" not in (n["severity"], worst.get(n["episode"]))]
        waited = [n for n in calm if _time(n["queued"]) < self._quiet_until]
        early = [n for n in waited if _time(n["sent"]) < self._quiet_until]
        at_once = [n for n in mails if n not in calm and _time(n["sent"]) < self._quiet_until]
        if early or not waited:
            return "–"
        end = self._offset(self._quiet_until)
        return f"{len(waited)} until {end}, and {len(at_once)} that were critical did not"

    def capped(self) -> str:
        """Whose mails the day's bound kept back; nothing while nobody's."""
        kept = [n for n in self.notices.values() if n["reason"] == "capped" and n["channel"] == "user-mail"]
        for user in sorted({n["user"] for n in kept}):
            for file, mail in self.mails:
                if mail["To"] != f"{user}@example.org":
                    continue
                body = mail.get_body(("plain",))
                if body is not None and LAST_WORDS in " ".join(body.get_content().split()):
                    count = sum(n["user"] == user for n in kept)
                    return f"{count} to {user}, after {file}"
        return "–"

    def table(self) -> list[str]:
        head = ["rule", "whose", "raised", *COLUMNS.values(), "over"]
        rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        found = [(rule, self._first(rule)) for rule in self.rules]
        # As they came; what never did at the end.
        found.sort(key=lambda each: each[1]["since"] if each[1] else "~")
        for rule, verdict in found:
            if verdict is None:
                rows.append(f"| `{rule}` |{' – |' * (len(head) - 1)}")
                continue
            cells = [self._when(rule, outlet) for outlet in COLUMNS]
            over = self._at(verdict["cleared"]) if verdict["cleared"] else "still open"
            whose = verdict["user"] or "the hub's"
            rows.append(
                f"| `{rule}` | {whose} | {self._at(verdict['since'])} | {' | '.join(cells)} | {over} |"
            )
        return rows

    def kinds(self) -> list[str]:
        """Beside the opening of a verdict: what else is told, and what is done."""
        rows = ["| what else | seen |", "|---|---|"]
        for phase in PHASES[1:]:
            of = sorted({_outlet(notice["channel"]) for notice in self.told(phase)})
            rows.append(f"| notices `{phase}` | {', '.join(of) or '–'} |")
        rows += [f"| {what} | {seen} |" for what, seen in self.done.items()]
        return rows

    def missing(self) -> list[str]:
        """In words; nothing when the day is complete."""
        missing = [] if self.rules else ["the collector names no rules in /metrics"]
        for rule in self.rules:
            if self._first(rule) is None:
                missing.append(f"{rule}: never raised")
                continue
            missing += [
                f"{rule}: not told by {COLUMNS[outlet]}"
                for outlet in ADMINS
                if self._when(rule, outlet) == "–"
            ]
        missing += [f"outlet {outlet}: nothing was sent" for outlet, count in self.sent.items() if not count]
        missing += [f"notices {phase}: none" for phase in PHASES if not self.told(phase)]
        missing += [f"{what}: not seen" for what, seen in self.done.items() if seen == "–"]
        for where in ("webhook", "slack", "mattermost", "alertmanager"):
            said = sum(_outlet(n["channel"]) == where and bool(n["sent"]) for n in self.notices.values())
            came = sum(to == where for to, _ in self.posts)
            if came < said:
                missing.append(f"{where}: the collector says {said} were taken, {came} came")
        return missing

    def _first(self, rule: str) -> dict[str, Any] | None:
        of = [verdict for verdict in self.verdicts.values() if verdict["rule"] == rule]
        return min(of, key=lambda verdict: verdict["since"], default=None)

    def _when(self, rule: str, outlet: str) -> str:
        """When somebody was first told of the rule this way."""
        if outlet == "lab":
            at = [
                at
                for at, _, event in self.shown
                if event["rule"] == rule and not event["cleared"] and not event["stops_at"]
            ]
            return self._offset(min(at)) if at else "–"
        at = [
            notice["sent"]
            for notice in self.told("opened", rule=rule)
            if _outlet(notice["channel"]) == outlet
        ]
        if at:
            return self._at(min(at))
        of = [n for n in self.notices.values() if n["rule"] == rule and _outlet(n["channel"]) == outlet]
        return "capped" if any(n["reason"] == "capped" for n in of) else "–"

    def _at(self, time_: str) -> str:
        return self._offset(_time(time_))

    def _offset(self, at: datetime) -> str:
        seconds = max(0, int((at - self.begun).total_seconds()))
        return f"{seconds // 60}:{seconds % 60:02}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _outlet(channel: str) -> str:
    """`webhook-1f2e…` is a webhook's, `user-mail` is `user_mail`."""
    head = channel.split("-")[0]
    return head if head in ADMINS else channel.replace("-", "_")
