// Notices above the files: what happened, and what somebody may decide.
import { announce, element, make } from "../shared/page.ts";

export interface Choice {
  text: string;
  choose: () => void | Promise<void>;
}

/** Shows a notice until a choice is made; another one of the same `kind` replaces it. */
export function notice(kind: string, text: string, choices: Choice[] = []): void {
  const box = make("div", { className: "notice" }, make("p", { text }));
  box.dataset.kind = kind;
  box.setAttribute("role", "group");
  const all = choices.length > 0 ? choices : [{ text: "Close", choose: () => undefined }];
  const buttons = all.map(({ text: label, choose }) => {
    const button = make("button", { text: label });
    button.type = "button";
    button.addEventListener("click", () => {
      box.remove();
      void choose();
    });
    return button;
  });
  box.append(make("p", { className: "choices" }, ...buttons));
  const before = element("notices").querySelector(`[data-kind="${CSS.escape(kind)}"]`);
  if (before) before.replaceWith(box);
  else element("notices").append(box);
  announce(text);
}

/** Takes a notice away: it is settled. */
export function settle(kind: string): void {
  element("notices").querySelector(`[data-kind="${CSS.escape(kind)}"]`)?.remove();
}
