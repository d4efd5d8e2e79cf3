// Drafts: what was typed and is not in a light yet, kept in this browser, one for each window.
//
// localStorage keeps it while the page is being closed, too; a database would answer too late.
import type { Difference } from "./files.ts";

export interface Draft extends Difference {
  writer: string;
  /** The light that it was typed on. */
  base: number;
  /** When, in milliseconds. */
  time: number;
}

const ANSWER_MILLISECONDS = 150;

export class Drafts {
  private readonly prefix: string;
  private readonly channel: BroadcastChannel;

  /** `onOther` is called when another window of this browser opens the same editor. */
  constructor(
    kataId: string,
    avatar: string,
    private readonly writer: string,
    onOther: () => void,
  ) {
    this.prefix = `dojo-draft/${kataId}/${avatar}/`;
    this.channel = new BroadcastChannel(this.prefix);
    this.channel.addEventListener("message", ({ data }: MessageEvent<{ opened?: string }>) => {
      if (!data.opened) return;
      this.channel.postMessage({ isThere: this.writer });
      onOther();
    });
  }

  /** Returns the drafts of windows that are closed, the newest first, and whether others are open. */
  async left(): Promise<{ drafts: Draft[]; others: boolean }> {
    const open = new Set<string>();
    const note = ({ data }: MessageEvent<{ isThere?: string }>): void => {
      if (data.isThere) open.add(data.isThere);
    };
    this.channel.addEventListener("message", note);
    this.channel.postMessage({ opened: this.writer });
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MILLISECONDS));
    this.channel.removeEventListener("message", note);
    const drafts = this.all().filter(({ writer }) => writer !== this.writer && !open.has(writer));
    return { drafts: drafts.sort((one, other) => other.time - one.time), others: open.size > 0 };
  }

  /** Keeps what was typed in this window; returns whether there was room for it. */
  keep(base: number, difference: Difference): boolean {
    const draft: Draft = { ...difference, base, time: Date.now(), writer: this.writer };
    try {
      localStorage.setItem(this.prefix + this.writer, JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  }

  /** Forgets a draft: it is in a light, or somebody decided so. */
  forget(writer = this.writer): void {
    localStorage.removeItem(this.prefix + writer);
  }

  private all(): Draft[] {
    const found: Draft[] = [];
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(this.prefix)) continue;
      try {
        found.push(JSON.parse(localStorage.getItem(key)!) as Draft);
      } catch {
        localStorage.removeItem(key);
      }
    }
    return found;
  }
}
