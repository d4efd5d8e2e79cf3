// What the run writes, as it comes.
import { element, make } from "../shared/page.ts";
import type { Output } from "./press.ts";

const MOST_CHARACTERS = 1_000_000; // of each stream: more would make the page slow

export class OutputPane {
  private readonly pane = element("output");
  private readonly of = element("output-of");

  /** Empties it for a run that begins. */
  begin(): void {
    this.of.textContent = "as it comes";
    this.pane.replaceChildren();
  }

  /** Adds what was written. Text is text, whatever is in it. */
  add(stream: "stdout" | "stderr", text: string): void {
    const last = this.pane.lastElementChild;
    const isAtEnd = this.pane.scrollTop + this.pane.clientHeight >= this.pane.scrollHeight - 8;
    let block = last instanceof HTMLPreElement && last.dataset.stream === stream ? last : null;
    if (!block) {
      block = make("pre", { className: stream });
      block.dataset.stream = stream;
      if (stream === "stderr") block.setAttribute("aria-label", "standard error");
      this.pane.append(block);
    }
    if ((this.pane.textContent?.length ?? 0) < 2 * MOST_CHARACTERS)
      block.append(document.createTextNode(text));
    if (isAtEnd) this.pane.scrollTop = this.pane.scrollHeight;
  }

  /** Shows the whole output of a light. */
  show(output: Output, of: string): void {
    this.of.textContent = of;
    const blocks: Node[] = [];
    for (const stream of ["stdout", "stderr"] as const) {
      const text = output[stream].slice(0, MOST_CHARACTERS);
      if (!text) continue;
      if (stream === "stderr") blocks.push(make("h3", { text: "Standard error" }));
      blocks.push(make("pre", { className: stream, text }));
    }
    if (output.truncated)
      blocks.push(make("p", { className: "faint", text: "There was more output than is kept." }));
    if (blocks.length === 0)
      blocks.push(make("p", { className: "faint", text: "There is no output." }));
    this.pane.replaceChildren(...blocks);
  }
}
