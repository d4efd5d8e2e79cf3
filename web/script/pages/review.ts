// The review without reloading: its links fetch the next page and swap what it shows, so the keyboard
// can go through a session, and play it back. Without this script the same links work.
import { announce, element, NO_NETWORK, pause } from "../shared/page";

const RETRY_MILLISECONDS = 2000;
// After so long without an answer the page says that it waits.
const SLOW_MILLISECONDS = 3000;

let going: AbortController | undefined;
let playing: ReturnType<typeof setTimeout> | undefined;
let isPlaying = false;

/** Goes to an address of a review; resolves to whether it is shown. Another one ends it. */
async function go(address: string, keep: "push" | "replace" | "none" = "push"): Promise<boolean> {
  going?.abort();
  const mine = (going = new AbortController());
  const review = element("review");
  review.setAttribute("aria-busy", "true");
  for (;;) {
    const slow = setTimeout(
      () => tell("The server takes its time. This goes on by itself as soon as it answers."),
      SLOW_MILLISECONDS,
    );
    try {
      const answer = await fetch(address, { signal: mine.signal, headers: { Accept: "text/html" } });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const found = page.getElementById("review");
      // Another page: of a trouble, say. The browser shows it, and what it says about going on.
      if (!found) {
        location.assign(address);
        return false;
      }
      show(found, page.title);
      if (keep === "push") history.pushState(null, "", address);
      if (keep === "replace") history.replaceState(null, "", address);
      return true;
    } catch (error) {
      if (mine.signal.aborted) return false;
      tell(`${NO_NETWORK.title}. ${NO_NETWORK.text}`);
      await pause(RETRY_MILLISECONDS);
      if (mine.signal.aborted) return false;
    } finally {
      clearTimeout(slow);
    }
  }
}

/** Shows another review in the place of this one. The focus stays on what had it. */
function show(found: HTMLElement, title: string): void {
  const focused = document.activeElement?.id;
  const scrolled = document.querySelector(".outputs")?.scrollTop ?? 0;
  document.title = title;
  element("review").replaceWith(document.adoptNode(found));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  document.querySelector(".outputs")?.scrollTo(0, scrolled);
  prepare();
  announce(element("what").innerText + ". " + (document.querySelector(".facts")?.textContent ?? ""));
}

function tell(text: string): void {
  let notice = document.getElementById("notice");
  if (!notice) {
    notice = document.createElement("p");
    notice.id = "notice";
    notice.className = "notice";
    element("review").prepend(notice);
  }
  notice.textContent = text;
  announce(text);
}

/** Makes the parts of a review that need a script. */
function prepare(): void {
  element("keys").hidden = false;
  const play = element("play");
  const canPlay = play.tagName === "A";
  element("pace-label").hidden = !canPlay;
  if (isPlaying && canPlay) {
    play.textContent = "Stop playing";
    play.classList.add("main");
  }
  element<HTMLSelectElement>("pace").value = pace;
  document
    .querySelector(".strip [aria-current]")
    ?.scrollIntoView({ block: "nearest", inline: "nearest" });
  for (const link of document.querySelectorAll<HTMLAnchorElement>("a.picture"))
    link.search = `?offset=${-new Date().getTimezoneOffset()}`;
}

// --- Playing back

let pace = "2";

function stop(): void {
  if (!isPlaying) return;
  isPlaying = false;
  clearTimeout(playing);
  const play = element("play");
  if (play.tagName === "A") {
    play.textContent = "Play back";
    play.classList.remove("main");
  }
}

function playOn(): void {
  clearTimeout(playing);
  playing = setTimeout(async () => {
    const forward = document.querySelector<HTMLAnchorElement>("a#forward");
    if (!forward || !isPlaying) return stop();
    if (!(await go(forward.href, "replace")) || !isPlaying) return;
    if (document.querySelector("a#forward")) return playOn();
    stop();
    announce("This is the newest light.");
  }, Number(pace) * 1000);
}

function play(): void {
  isPlaying = true;
  prepare();
  playOn();
}

// --- What people do

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element).closest<HTMLAnchorElement>("a");
  if (link?.id === "play") {
    event.preventDefault();
    if (isPlaying) stop();
    else play();
  } else if (link?.hasAttribute("data-goes")) {
    event.preventDefault();
    stop();
    void go(link.href);
  }
});

document.addEventListener("change", (event) => {
  if ((event.target as Element).id !== "pace") return;
  pace = (event.target as HTMLSelectElement).value;
  if (isPlaying) playOn();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target as Element;
  // Where arrows have a meaning of their own, they keep it.
  if (at.closest("input, select, textarea, pre, .scrolled")) return;
  const goals: Record<string, string> = event.shiftKey
    ? { ArrowLeft: "avatar-before", ArrowRight: "avatar-after" }
    : { ArrowLeft: "back", ArrowRight: "forward" };
  const goal = goals[event.key];
  if (!goal) return;
  const link = document.querySelector<HTMLAnchorElement>(`a#${goal}`);
  event.preventDefault();
  stop();
  if (link) void go(link.href);
  else announce("There is nothing further.");
});

addEventListener("popstate", () => {
  stop();
  void go(location.href, "none");
});

// The server's page that plays by itself is played here instead, without its reloading.
const asked = element("review").dataset["play"];
if (asked) {
  pace = asked;
  const address = new URL(location.href);
  address.searchParams.delete("play");
  history.replaceState(null, "", address);
  play();
}
prepare();
