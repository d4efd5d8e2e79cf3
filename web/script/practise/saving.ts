// Saving what is typed: in this browser at once, and on the server soon after.
import { element, Refused, send, type Trouble } from "../shared/page.ts";
import type { Edit } from "../shared/events.ts";
import type { Drafts } from "./drafts.ts";
import { sentOf } from "./files.ts";
import type { Session } from "./session.ts";

const DRAFT_MILLISECONDS = 100;
const EDIT_MILLISECONDS = 1_500; // after the last key
const MOST_EDIT_MILLISECONDS = 10_000; // after the first
const RETRY_MILLISECONDS = 3_000;

export class Saving {
  private draftTimer: ReturnType<typeof setTimeout> | undefined;
  private editTimer: ReturnType<typeof setTimeout> | undefined;
  private since = 0; // when the first change was that the server does not know
  private revision = 0; // counts changes
  private onServer = 0; // the revision that the server knows
  private trouble: Trouble | null = null;
  private isKept = true; // in this browser
  private isSending = false;
  /** No edits are sent while somebody has to decide. */
  private holds = new Set<string>();

  /** `onStale` is called when another window recorded a light since. */
  constructor(
    private readonly session: Session,
    private readonly drafts: Drafts,
    private readonly onStale: () => void,
  ) {
    // The page may be gone after either.
    addEventListener("pagehide", () => this.keepDraft());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "hidden") return;
      this.keepDraft();
      void this.sendEdit();
    });
    addEventListener("online", () => void this.sendEdit());
    this.show();
  }

  /** Something was typed. */
  changed(): void {
    this.revision += 1;
    this.since ||= Date.now();
    this.draftTimer ??= setTimeout(() => this.keepDraft(), DRAFT_MILLISECONDS);
    this.schedule();
    this.show();
  }

  /** The files are those of a light or an edit of the server: nothing is to be sent. */
  settled(): void {
    this.onServer = this.revision;
    this.since = 0;
    this.trouble = null;
    clearTimeout(this.editTimer);
    this.keepDraft();
    this.show();
  }

  hold(why: string): void {
    this.holds.add(why);
    clearTimeout(this.editTimer);
  }

  release(why: string): void {
    this.holds.delete(why);
    if (this.revision !== this.onServer) this.schedule();
  }

  get isOnServer(): boolean {
    return this.revision === this.onServer;
  }

  private schedule(wanted = EDIT_MILLISECONDS): void {
    clearTimeout(this.editTimer);
    const most = Math.max(this.since + MOST_EDIT_MILLISECONDS - Date.now(), 0);
    this.editTimer = setTimeout(() => void this.sendEdit(), Math.max(Math.min(wanted, most), 50));
  }

  private keepDraft(): void {
    clearTimeout(this.draftTimer);
    this.draftTimer = undefined;
    if (this.session.isAsRecorded) this.drafts.forget();
    else this.isKept = this.drafts.keep(this.session.newest.number, this.session.typed);
  }

  private async sendEdit(): Promise<void> {
    clearTimeout(this.editTimer);
    if (this.isSending || this.isOnServer || this.holds.size > 0) return;
    const { session, revision } = this;
    this.isSending = true;
    this.since = 0;
    try {
      const response = await send(`${session.path}/edit`, {
        files: sentOf(session.files),
        after_number: session.newest.number,
        writer: session.writer,
      });
      const { edit } = (await response.json()) as { edit: Edit | null };
      if (edit && edit.light_number === session.newest.number) session.edit = edit;
      this.onServer = Math.max(this.onServer, revision);
      this.trouble = null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.trouble = error.trouble;
      if (error.trouble.kind === "stale") this.onStale();
      else if (error.trouble.goes_on)
        this.editTimer = setTimeout(
          () => void this.sendEdit(),
          (error.trouble.retry_after ?? 0) * 1000 || RETRY_MILLISECONDS,
        );
    } finally {
      this.isSending = false;
    }
    const isStale = this.trouble?.kind === "stale"; // also for a moment, while a light comes in
    if ((!this.trouble || isStale) && !this.isOnServer && this.holds.size === 0)
      this.schedule(isStale ? RETRY_MILLISECONDS : EDIT_MILLISECONDS);
    this.show();
  }

  /** Says where what is in the editor is kept. */
  private show(): void {
    const { session } = this;
    const state = element("save-state");
    const light = session.newest.number === 0 ? "the start" : `light ${session.newest.number}`;
    let word = "pending";
    let text = "Typed, not tested. Kept in this browser; not saved on the server yet.";
    if (session.isAsRecorded) [word, text] = ["recorded", `Recorded: as in ${light}.`];
    else if (this.isOnServer) [word, text] = ["saved", "Typed, not tested. Saved on the server."];
    else if (this.trouble)
      [word, text] = [
        "unsaved",
        `Typed, not tested. Kept in this browser; not saved on the server: ${this.trouble.title}.`,
      ];
    if (!this.isKept && word !== "recorded" && word !== "saved")
      text = "Typed, not tested. This browser has no room to keep it, and the server does not have it yet.";
    state.textContent = text;
    state.dataset.state = word;
  }
}
