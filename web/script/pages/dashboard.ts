// The dashboard: follows everybody's lights. What it shows is bounded however long it stays open:
// a kata's lights are kept once, and drawn in at most 90 columns of time.
import { listen } from "../shared/events";
import { drawLight, wordOf, type Light } from "../shared/lights";
import { announce, element, make, pageData } from "../shared/page";
import {
  arranged,
  colourOf,
  isQuiet,
  newestOf,
  passedOf,
  percent,
  quietSeconds,
  Session,
  type Standing,
} from "../shared/standings";
import { columnOf, fold, forPeople, type Column, type Timeline } from "../shared/timeline";

const MAX_CELL_LIGHTS = 8;
const RECENT_LIGHTS = 8;
const COLUMNS_OF_LABEL = 5;
// More rows than this are lower, so that a projector has room for more of them.
const ROWS_OF_ROOM = 24;
const FRESH_MILLISECONDS = 1500;
// A connection that is back so soon is not worth a word.
const BLIP_SECONDS = 2;

const data = pageData<{ kata_id: string; now: number }>();
const base = `/kata/${encodeURIComponent(data.kata_id)}`;
// This machine's clock may be wrong, so how long ago something was is told by the server's.
const ahead = data.now - Date.now() / 1000;
const now = (): number => Date.now() / 1000 + ahead;

const board = element<HTMLTableElement>("board");
const along = element("along");
const body = board.tBodies[0] as HTMLTableSectionElement;
const order = element<HTMLSelectElement>("order");
const show = element<HTMLSelectElement>("show");
const away = element("away");

const SETTLE_MILLISECONDS = 200;

let session = new Session();
let coming: Session | undefined; // what a new connection tells, until it has told all
let hasAll = false;
let trouble: { since: number; title: string; text: string } | undefined;
let isTold = false;
let isConnected = true;
let storerTrouble: { title: string; text: string } | undefined;
let gone: { title: string; text: string } | undefined;

// --- What happens

listen(`${base}/dashboard/events`, {
  connected(is) {
    if (is) coming = new Session();
    else {
      isConnected = false;
      judge();
    }
  },
  lights(lights) {
    (coming ?? session).add(lights);
    if (!coming) draw();
  },
  caughtUp() {
    if (coming) session = coming;
    coming = undefined;
    hasAll = true;
    isConnected = true;
    // Of a storer that is away, the web tier tells a new connection right behind this.
    storerTrouble = undefined;
    setTimeout(judge, SETTLE_MILLISECONDS);
    draw();
  },
  storer(told) {
    isConnected = true;
    storerTrouble = told.title ? { title: told.title, text: told.text ?? "" } : undefined;
    judge();
  },
  gone(told) {
    gone = told;
    judge();
  },
});

/** Says in words whether what is shown is up to date, and since when it is not. */
function judge(): void {
  const told =
    gone ??
    (isConnected
      ? storerTrouble
      : {
          title: "The web server can't be reached",
          text: "Is the network there? The dashboard goes on by itself as soon as it answers.",
        });
  if (told) trouble = { ...told, since: trouble?.since ?? now() };
  else {
    trouble = undefined;
    if (isTold) announce("The dashboard is up to date again.");
    isTold = false;
  }
  tick();
}

// --- The clock, which ticks without a server

function tick(): void {
  const time = now();
  element("clock").textContent = clockOf(time, true);
  const isLong = trouble !== undefined && (gone !== undefined || time - trouble.since >= BLIP_SECONDS);
  away.hidden = !isLong;
  if (trouble && isLong) {
    if (!isTold) announce(`${trouble.title}. ${trouble.text}`);
    isTold = true;
    const since = `Not up to date since ${clockOf(trouble.since, true)}, for ${forPeople(time - trouble.since)}.`;
    say(away, `${trouble.title}. ${since} ${trouble.text}`);
  }
  for (const row of rows.values()) tellQuiet(row, time);
}

function clockOf(seconds: number, withSeconds = false): string {
  const date = new Date((seconds - ahead) * 1000);
  const two = (number: number): string => String(number).padStart(2, "0");
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withSeconds ? `${minutes}:${two(date.getSeconds())}` : minutes;
}

/** Changes a text only if it is another: what did not change needs no layout. */
function say(where: HTMLElement, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}

// --- Drawing

interface Row {
  standing: Standing;
  drawn: string;
  row: HTMLTableRowElement;
  quiet: HTMLElement;
}

const rows = new Map<string, Row>();
let drawnColumns = "";
let isWaiting = false;

/** Draws in the next frame, once for all that happens until then. */
function draw(): void {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    drawNow();
  });
}

function drawNow(): void {
  if (!hasAll) return; // until then the server's page is better
  const time = now();
  const standings = session.standings();
  const times = standings.flatMap((each) => [
    each.joined,
    ...each.lights.map((light) => light.time / 1000),
  ]);
  const timeline = fold(times, time);
  const columns = timeline.columns.map(({ start, isFold }) => `${start}${isFold}`).join();
  const isAtEnd = along.scrollLeft + along.clientWidth >= along.scrollWidth - 8;
  if (columns !== drawnColumns) drawHead(timeline);
  const shown = arranged(standings, time, order.value, show.value);
  drawRows(shown, timeline, columns, time);
  drawnColumns = columns;
  board.classList.toggle("dense", shown.length > ROWS_OF_ROOM);
  drawTotals(standings, time);
  const nobody = element("nobody");
  nobody.hidden = shown.length > 0;
  say(nobody, standings.length ? "Nobody is like that now." : "Nobody has joined yet.");
  if (isAtEnd) toNewest();
}

/** Scrolls to the newest lights. Where there is no room for time, there is nothing to scroll to. */
function toNewest(): void {
  if (body.querySelector<HTMLElement>(".minute")?.offsetWidth) along.scrollLeft = along.scrollWidth;
}

function drawHead(timeline: Timeline): void {
  const head = (board.tHead as HTMLTableSectionElement).rows[0] as HTMLTableRowElement;
  for (const old of head.querySelectorAll(".minute, .fold")) old.remove();
  let since = 0;
  for (const column of timeline.columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = column.isFold ? "fold" : "minute";
    if (column.isFold) {
      // A fold that ends now grows; its words follow with the next drawing.
      cell.append(make("span", { text: forPeople(column.seconds) }));
      since = 0;
    } else {
      // Where there is no room for an hour, it is there for those who hear the page.
      const className = since === 0 ? "" : "unseen";
      cell.append(make("span", { className, text: clockOf(column.start) }));
      since = (since + 1) % COLUMNS_OF_LABEL;
    }
    head.append(cell);
  }
}

function drawRows(shown: Standing[], timeline: Timeline, columns: string, time: number): void {
  const focused = (document.activeElement as HTMLAnchorElement | null)?.getAttribute("href");
  const hadFocus = focused !== null && body.contains(document.activeElement);
  const gone = new Set(rows.keys());
  let place = body.firstElementChild;
  for (const standing of shown) {
    gone.delete(standing.avatar);
    const newest = newestOf(standing);
    const drawn = `${standing.joined} ${standing.lights.length} ${newest?.time} ${columns}`;
    let row = rows.get(standing.avatar);
    if (row?.drawn === drawn) row.standing = standing;
    else {
      const made = drawRow(standing, timeline, drawn, time);
      if (row?.row === place) place = made.row;
      row?.row.replaceWith(made.row);
      rows.set(standing.avatar, made);
      row = made;
    }
    if (row.row === place) place = place?.nextElementSibling ?? null;
    else body.insertBefore(row.row, place);
    tellQuiet(row, time);
  }
  for (const avatar of gone) {
    rows.get(avatar)?.row.remove();
    rows.delete(avatar);
  }
  // What the server drew, before the first drawing here.
  while (place) {
    const next = place.nextElementSibling;
    place.remove();
    place = next;
  }
  if (hadFocus && !body.contains(document.activeElement))
    body.querySelector<HTMLElement>(`a[href="${CSS.escape(focused ?? "")}"]`)?.focus();
}

function drawRow(standing: Standing, timeline: Timeline, drawn: string, time: number): Row {
  const { avatar, lights } = standing;
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.className = "who";
  const link = make("a", {}, drawLight(colourOf(standing)), document.createTextNode(` ${avatar}`));
  link.href = `${base}/review?avatar=${avatar}`;
  head.append(link);
  const quiet = make("td", { className: "quiet-for" });
  const passed = passedOf(standing);
  row.append(
    head,
    quiet,
    make("td", { className: "count", text: String(lights.length) }),
    make("td", { className: "passed", text: passed ? passed.join("/") : "–" }),
    make("td", { className: "recent" }, ...lights.slice(-RECENT_LIGHTS).map((each) => linkTo(each, time))),
    ...cellsOf(lights, timeline, time),
  );
  return { standing, drawn, row, quiet };
}

function cellsOf(lights: Light[], timeline: Timeline, time: number): HTMLElement[] {
  const inColumns: Light[][] = timeline.columns.map(() => []);
  for (const light of lights) inColumns[columnOf(timeline, light.time / 1000)]?.push(light);
  return timeline.columns.map((column: Column, place) => {
    const cell = make("td", { className: column.isFold ? "fold" : "minute" });
    const held = inColumns[place] ?? [];
    const shown = held.length <= MAX_CELL_LIGHTS ? held : held.slice(1 - MAX_CELL_LIGHTS);
    if (shown.length < held.length)
      cell.append(make("span", { className: "more", text: `+${held.length - shown.length}` }));
    cell.append(...shown.map((each) => linkTo(each, time)));
    return cell;
  });
}

function linkTo(light: Light, time: number): HTMLAnchorElement {
  const said = `${light.avatar} ${sentenceOf(light)}`;
  const link = make("a", { className: "to-light" }, drawLight(light.colour, said));
  link.href = `${base}/review?avatar=${light.avatar}&now=${light.number}`;
  link.title = said;
  // The keyboard reaches each light by its animal's review: thousands of stops would help nobody.
  link.tabIndex = -1;
  if (time * 1000 - light.time < FRESH_MILLISECONDS) link.classList.add("appears");
  return link;
}

/** Returns all that is known of a light, as web/session/lights.py says it. */
function sentenceOf(light: Light): string {
  const said = [`${light.number}: ${wordOf(light.colour)}`];
  const { counts, added, deleted, predicted, source } = light;
  if (counts) said.push(`${counts.passed} of ${counts.passed + counts.failed} tests passed`);
  if (added !== undefined || deleted !== undefined)
    said.push(`+${added ?? 0} -${deleted ?? 0} lines`);
  if (predicted) said.push(`predicted ${wordOf(predicted)}`);
  if (source) {
    const elsewhere = source.kata_id === data.kata_id ? "" : `${source.kata_id} `;
    said.push(`files of ${elsewhere}${source.avatar} ${source.number}`);
  }
  return said.join(", ");
}

function tellQuiet({ standing, quiet }: Row, time: number): void {
  const seconds = forPeople(quietSeconds(standing, time));
  const isLong = isQuiet(standing, time);
  if (!standing.lights.length) say(quiet, `no test, ${seconds}`);
  else say(quiet, isLong ? `quiet ${seconds}` : `${seconds} ago`);
  quiet.classList.toggle("is-quiet", isLong);
}

function drawTotals(standings: Standing[], time: number): void {
  const count = (of: number, one: string, many: string): Node[] => [
    make("b", { text: String(of) }),
    document.createTextNode(` ${of === 1 ? one : many}`),
  ];
  const all = standings.flatMap((each) => each.lights);
  const known = standings.map((each) => passedOf(each) ?? ([0, 0] as const));
  const sum = (place: 0 | 1): number => known.reduce((total, each) => total + each[place], 0);
  const green = percent(all.filter(({ colour }) => colour === "green").length, all.length);
  const passed = percent(sum(0), sum(1));
  const parts: Node[][] = [
    count(standings.length, "animal", "animals"),
    count(all.length, "test", "tests"),
    ...(["red", "amber", "green"] as const).map((colour) => {
      const of = standings.filter((each) => colourOf(each) === colour).length;
      return [
        drawLight(colour, ""),
        document.createTextNode(" "),
        ...count(of, `${colour} now`, `${colour} now`),
      ];
    }),
    count(standings.filter((each) => isQuiet(each, time)).length, "quiet", "quiet"),
  ];
  const share = (of: number | undefined, what: string): void => {
    if (of !== undefined)
      parts.push([make("b", { text: `${of} %` }), document.createTextNode(` ${what}`)]);
  };
  share(green, "of all lights green");
  share(passed, "of tests pass now");
  element("totals").replaceChildren(...parts.map((nodes) => make("span", {}, ...nodes)));
}

// --- What people choose

element("arrange").addEventListener("change", () => {
  const address = new URL(location.href);
  address.searchParams.set("order", order.value);
  address.searchParams.set("show", show.value);
  history.replaceState(null, "", address);
  drawNow();
});

// The hours of a picture are those of this place.
for (const link of document.querySelectorAll<HTMLAnchorElement>("a.picture"))
  link.search = `?offset=${-new Date().getTimezoneOffset()}`;

const projector = element<HTMLButtonElement>("projector");
projector.hidden = !document.fullscreenEnabled;
projector.addEventListener("click", () => {
  void document.documentElement.requestFullscreen();
});

// A projector that nobody touches must not go dark. The browser gives the lock up with the page.
async function stayAwake(): Promise<void> {
  if (!document.fullscreenElement || document.visibilityState !== "visible") return;
  try {
    await navigator.wakeLock?.request("screen");
  } catch {
    // Not allowed, say as the battery is low. The page works all the same.
  }
}
document.addEventListener("fullscreenchange", () => void stayAwake());
document.addEventListener("visibilitychange", () => {
  void stayAwake();
  if (document.visibilityState === "visible") draw();
});

toNewest();
tick();
setInterval(tick, 1000);
// Time goes on without lights too: columns move, and who is quiet changes.
setInterval(draw, 15_000);
