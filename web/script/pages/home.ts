// The first page: search in the lists, instructions, and completion of an id.
import { announce, element, get, make, pageData } from "../shared/page.ts";

const { instructions } = pageData<{ instructions: Record<string, Record<string, string>> }>();

for (const choice of document.querySelectorAll<HTMLElement>("[data-choice]")) prepare(choice);
complete();

/** Gives a list its search, and shows the instructions of what is chosen. */
function prepare(choice: HTMLElement): void {
  const search = choice.querySelector<HTMLInputElement>(".search")!;
  const found = choice.querySelector<HTMLElement>(".found")!;
  const labels = [...choice.querySelectorAll("label")];
  const radios = labels.map((label) => label.querySelector("input")!);
  search.hidden = found.hidden = false;

  const shown = (): HTMLInputElement[] => radios.filter((_, place) => !labels[place]!.hidden);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    for (const label of labels) {
      const text = label.textContent!.toLowerCase();
      label.hidden = !words.every((word) => text.includes(word));
    }
    const count = shown().length;
    found.textContent = words.length === 0 ? "" : count === 1 ? "1 is left" : `${count} are left`;
  });
  // From the search, an arrow leads into the list, and Enter takes the only one that is left.
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      const checked = shown().find((radio) => radio.checked);
      (checked ?? shown()[0])?.focus();
    } else if (event.key === "Enter") {
      const [only, another] = shown();
      event.preventDefault();
      if (!only || another) return;
      only.checked = true;
      only.dispatchEvent(new Event("change", { bubbles: true }));
      announce(`${only.value} is chosen`);
    }
  });

  const of = choice.dataset.choice!;
  const texts = instructions[of];
  if (!texts) return;
  const pane = element(`${of}-instructions`);
  choice.addEventListener("change", () => {
    const chosen = radios.find((radio) => radio.checked)?.value ?? "";
    pane.textContent = texts[chosen] || "There are no instructions.";
    pane.scrollTop = 0;
  });
}

/** Completes an id while it is typed: asked once for its first 6 characters. */
function complete(): void {
  const input = element<HTMLInputElement>("join-id");
  const list = element("join-found");
  const hint = element("join-hint");
  const usual = hint.textContent;
  let asked = "";
  let answer: { found: string[]; problem: string } = { found: [], problem: "" };

  const show = (): void => {
    const typed = input.value.trim().toUpperCase();
    const matching = answer.found.filter((id) => id.toUpperCase().startsWith(typed));
    list.replaceChildren();
    if (typed.length < 6) {
      hint.textContent = usual;
      return;
    }
    hint.textContent =
      answer.problem || (matching.length === 0 ? "No kata has an id that begins so." : usual);
    for (const id of matching) {
      const link = make("a", { className: "button mono", text: id });
      link.href = `/kata/${id}`;
      list.append(make("li", {}, link));
    }
  };
  input.addEventListener("input", async () => {
    const beginning = input.value.trim().slice(0, 6).toUpperCase();
    if (beginning.length === 6 && beginning !== asked && /^[0-9A-Z]+$/.test(beginning)) {
      asked = beginning;
      const typed = input.value.trim().slice(0, 6);
      try {
        answer = await get(`/join/complete?id=${encodeURIComponent(typed)}`);
      } catch {
        asked = ""; // the button still works, and says what is wrong
        return;
      }
    }
    show();
  });
}
