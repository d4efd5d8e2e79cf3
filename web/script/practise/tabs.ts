// The tabs of the files: arrows move between them; create, rename and delete.
import { announce, element, make } from "../shared/page.ts";
import { problemOf } from "./files.ts";

const NEEDED = "cyber-dojo.sh"; // what a run runs

export class Tabs {
  open = "";
  private names: string[] = [];
  private readonly list = element("tabs");

  /** `onOpen` is called with the file to show; the others with what somebody decided. */
  constructor(
    private readonly onOpen: (name: string) => void,
    private readonly onCreate: (name: string) => void,
    private readonly onRename: (from: string, to: string) => void,
    private readonly onDelete: (name: string) => void,
  ) {
    this.list.addEventListener("click", (event) => {
      const tab = (event.target as Element).closest<HTMLElement>("[role=tab]");
      if (tab) this.choose(tab.dataset.name!);
    });
    this.list.addEventListener("keydown", (event) => {
      const at = this.names.indexOf(this.open);
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.names.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.choose(this.names[(to + this.names.length) % this.names.length]!);
      this.tabOf(this.open)?.focus();
    });
    element("new-file").addEventListener("click", () => void this.create());
    element("rename-file").addEventListener("click", () => void this.rename());
    element("delete-file").addEventListener("click", () => this.delete());
  }

  /** Shows the tabs of these files, with the one open that was, if it is there. */
  set(names: string[]): void {
    this.names = names;
    this.list.replaceChildren(
      ...names.map((name) => {
        const tab = make("button", { className: "tab", text: name });
        tab.type = "button";
        tab.setAttribute("role", "tab");
        tab.setAttribute("aria-controls", "editor");
        tab.dataset.name = name;
        return tab;
      }),
    );
    this.choose(names.includes(this.open) ? this.open : (names[0] ?? ""));
  }

  choose(name: string): void {
    this.open = name;
    for (const tab of this.list.children as HTMLCollectionOf<HTMLElement>) {
      const isOpen = tab.dataset.name === name;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      if (isOpen) {
        tab.id = "open-tab";
        tab.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else tab.removeAttribute("id");
    }
    element("editor").setAttribute("aria-labelledby", "open-tab");
    const isNeeded = name === NEEDED || name === "";
    element<HTMLButtonElement>("rename-file").disabled = isNeeded;
    element<HTMLButtonElement>("delete-file").disabled = isNeeded;
    this.onOpen(name);
  }

  private tabOf(name: string): HTMLElement | undefined {
    return ([...this.list.children] as HTMLElement[]).find((tab) => tab.dataset.name === name);
  }

  private async create(): Promise<void> {
    const name = await askName("New file", "", this.names);
    if (name) this.onCreate(name);
  }

  private async rename(): Promise<void> {
    const from = this.open;
    const others = this.names.filter((name) => name !== from);
    const to = await askName(`Rename ${from}`, from, others);
    if (to && to !== from) this.onRename(from, to);
  }

  private delete(): void {
    const name = this.open;
    this.onDelete(name);
    announce(`${name} is deleted`);
    this.tabOf(this.open)?.focus();
  }
}

/** Asks for a name until it is one that a file can have; returns nothing if somebody cancels. */
function askName(title: string, name: string, taken: string[]): Promise<string | undefined> {
  const dialog = element<HTMLDialogElement>("name-dialog");
  const form = element<HTMLFormElement>("name-form");
  const input = element<HTMLInputElement>("name");
  const problem = element("name-problem");
  element("name-title").textContent = title;
  input.value = name;
  problem.textContent = "";
  return new Promise((resolve) => {
    const onSubmit = (event: SubmitEvent): void => {
      if ((event.submitter as HTMLButtonElement | null)?.value === "cancel") return;
      const wrong = problemOf(input.value.trim(), taken);
      if (!wrong) {
        dialog.returnValue = "ok";
        return;
      }
      event.preventDefault();
      problem.textContent = wrong;
      input.focus();
    };
    const onClose = (): void => {
      form.removeEventListener("submit", onSubmit);
      resolve(dialog.returnValue === "ok" ? input.value.trim() : undefined);
    };
    form.addEventListener("submit", onSubmit);
    dialog.addEventListener("close", onClose, { once: true });
    dialog.returnValue = "";
    dialog.showModal();
    input.select();
  });
}
