"""What a comparison found, as a table and in sentences."""

from collections.abc import Mapping
import html
import statistics

from lmxlab.lab.measures import NOT_SHOWN
from lmxlab.lab.timing import Findings

STYLE = """<style>.lmx-table {border-collapse: collapse; font-size: 12px}
.lmx-table * {padding: 2px 6px; text-align: right; line-height: 1.35; font-weight: 400}
.lmx-table th:first-child {text-align: left; white-space: nowrap} .lmx-table tr > * {
border-bottom: 1px solid #8885} .lmx-table span {padding: 0}</style>"""


class Comparison(Findings):
    """What a comparison found (:class:`.Findings`), as a table and in sentences.

    Example:
        >>> Comparison({}, failures={"a": ValueError("no data")}).summary()
        '- a failed after 0 steps: ValueError: no data.'
    """

    def rows(self) -> list[list[str]]:
        """Return the table's rows, the head first, each a list of cells' texts."""
        at, timings = self.common_seconds, self.timings
        losses = self.losses_at(at) if self.seconds else {}
        goal = f"loss at {at:.3g} s" if self.seconds else "first call earned back"
        base = next(iter(self.names), "")
        head = ["", "ms a step (p10 to p90)", "tokens/s", f"times as fast as {base}",
                "first call (s)", goal, "Python entered", "peak memory (MiB)",
                "loss, last 20", "evaluation", f"losses against {base}"]  # fmt: skip
        table = [head]
        for name in self.names:
            row, run = [name, *["–"] * (len(head) - 1)], self.results.get(name)
            if name in timings:
                t = timings[name]
                row[1] = f"{t.step_ms:.2f} ({t.low_ms:.2f} to {t.high_ms:.2f})"
                row[2] = f"{t.tokens_per_second:,.0f}"
                row[3], row[5], _ = self.against(base, name)
            if name in losses:
                row[5] = f"{losses[name].loss:.3f}"
            if run is not None and run.history:
                tally = self.tally(name)
                row[4] = f"{tally.first_call_seconds:.2f}"
                row[6] = f"{run.trainer.trace_count:,}"
                row[8] = f"{statistics.fmean(tally.losses[-20:]):.3f}"
                row[9] = "–" if tally.eval_loss is None else f"{tally.eval_loss:.3f}"
            if name in self.memory:
                row[7] = f"{self.memory[name] / 2**20:.3g}"
            if name in self.failures:
                row[10] = self.failure(name)
            elif base in self.results:
                row[10] = str(self.equality(base, name)) if name != base else "baseline"
            table.append(row)
        return table

    def table(self) -> str:
        """Return a Markdown table, a row for each run."""
        rows = [[cell.replace("|", r"\|") for cell in row] for row in self.rows()]
        rows.insert(1, ["---"] * len(rows[0]))
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def table_html(self, colours: Mapping[str, str]) -> str:
        """Return the same table as HTML, with a sign in the colour of each curve.

        Args:
            colours: Label of each run to the CSS colour of its curve.
        """
        head, *rows = [[html.escape(cell) for cell in row] for row in self.rows()]
        lines = [f"<tr><th>{'<th>'.join(head)}</tr>"]
        for name, row in zip(self.names, rows, strict=True):
            sign = f'<span aria-hidden="true" style="color:{colours[name]}">■</span>'
            lines.append(f'<tr><th scope="row">{sign} {"<td>".join(row)}</tr>')
        body = "".join(lines).replace(" to ", "&nbsp;to&nbsp;")  # an interval, whole
        return f'{STYLE}<table class="lmx-table">{body}</table>'

    def summary(self) -> str:
        """Return what came out, and what this run cannot show, a line for each run."""
        base, *others = self.names or [""]
        speeds = [self.verdict(name) for name in others if name in self.results]
        said = [f"{name} {self.failure(name)}." for name in self.failures]
        said += speeds if self.seconds is None else self._equal_time()
        if base in self.results:
            pairs = {n: self.equality(base, n) for n in others if n in self.results}
            apart = [n for n, pair in pairs.items() if pair.first is not None]
            if apart:
                said.append(f"Losses other than those of {base}: {', '.join(apart)}.")
            elif any(pair.steps for pair in pairs.values()):
                said.append("The losses are equal, bit for bit, at every step.")
        return "\n".join(f"- {line}" for line in said)

    def _equal_time(self) -> list[str]:
        at = self.common_seconds
        found = {n: x for n, x in self.losses_at(at).items() if n not in self.failures}
        if len(found) < 2:
            return ["Fewer than two runs have trained for a time to compare them at."]
        best, *rest = sorted(found, key=lambda name: found[name].loss)
        calls = "included" if self.first_calls else "left out"
        loss = f"Loss in {self.unit}" if self.unit else "Loss"
        head = (f"{loss} after the same {at:.3g} of {self.seconds:g} s of "
                f"training, first calls {calls}:")  # fmt: skip
        each = [f"{n} {found[n].loss:.3f} ({found[n].steps:,} steps)" for n in found]
        close = [n for n in rest if not found[best].is_below(found[n])]
        names = " and ".join([best, *close])
        end = f"Between {names}: {NOT_SHOWN}." if close else f"{best} is lowest."
        return [head, *each, end]

    def _repr_markdown_(self) -> str:
        return f"{self.table()}\n{self.summary()}"

    __repr__ = _repr_markdown_
