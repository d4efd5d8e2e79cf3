// Which highlighting a file gets, by its name. Each is loaded when the first such file is opened.
import type { Extension } from "@codemirror/state";
import { StreamLanguage, type StreamParser } from "@codemirror/language";

type Load = () => Promise<Extension>;

const legacy = (load: () => Promise<StreamParser<unknown>>): Load => {
  return async () => StreamLanguage.define(await load());
};

const clike = () => import("@codemirror/legacy-modes/mode/clike");
const cpp: Load = async () => (await import("@codemirror/lang-cpp")).cpp();
const javascript: Load = async () => (await import("@codemirror/lang-javascript")).javascript();
const python: Load = async () => (await import("@codemirror/lang-python")).python();
const markdown: Load = async () => (await import("@codemirror/lang-markdown")).markdown();
const shell = legacy(async () => (await import("@codemirror/legacy-modes/mode/shell")).shell);
const ruby = legacy(async () => (await import("@codemirror/legacy-modes/mode/ruby")).ruby);
const gherkin = legacy(async () => (await import("@codemirror/legacy-modes/mode/gherkin")).gherkin);
const clojure = legacy(async () => (await import("@codemirror/legacy-modes/mode/clojure")).clojure);
const perl = legacy(async () => (await import("@codemirror/legacy-modes/mode/perl")).perl);
const erlang = legacy(async () => (await import("@codemirror/legacy-modes/mode/erlang")).erlang);
const haskell = legacy(async () => (await import("@codemirror/legacy-modes/mode/haskell")).haskell);

const OF_EXTENSION: Record<string, Load> = {
  c: cpp,
  h: cpp,
  cpp,
  hpp: cpp,
  cc: cpp,
  js: javascript,
  mjs: javascript,
  cjs: javascript,
  py: python,
  md: markdown,
  sh: shell,
  rb: ruby,
  feature: gherkin,
  clj: clojure,
  pl: perl,
  pm: perl,
  t: perl,
  erl: erlang,
  hrl: erlang,
  hs: haskell,
  coffee: legacy(
    async () => (await import("@codemirror/legacy-modes/mode/coffeescript")).coffeeScript,
  ),
  cs: legacy(async () => (await clike()).csharp),
  fs: legacy(async () => (await import("@codemirror/legacy-modes/mode/mllike")).fSharp),
  go: async () => (await import("@codemirror/lang-go")).go(),
  groovy: legacy(async () => (await import("@codemirror/legacy-modes/mode/groovy")).groovy),
  java: async () => (await import("@codemirror/lang-java")).java(),
  json: async () => (await import("@codemirror/lang-json")).json(),
  lua: legacy(async () => (await import("@codemirror/legacy-modes/mode/lua")).lua),
  php: async () => (await import("@codemirror/lang-php")).php(),
  rs: async () => (await import("@codemirror/lang-rust")).rust(),
  vhd: legacy(async () => (await import("@codemirror/legacy-modes/mode/vhdl")).vhdl),
  vhdl: legacy(async () => (await import("@codemirror/legacy-modes/mode/vhdl")).vhdl),
  html: async () => (await import("@codemirror/lang-html")).html(),
  css: async () => (await import("@codemirror/lang-css")).css(),
  xml: async () => (await import("@codemirror/lang-xml")).xml(),
  yml: async () => (await import("@codemirror/lang-yaml")).yaml(),
  yaml: async () => (await import("@codemirror/lang-yaml")).yaml(),
  sql: legacy(async () => (await import("@codemirror/legacy-modes/mode/sql")).sqlite),
  toml: legacy(async () => (await import("@codemirror/legacy-modes/mode/toml")).toml),
};

/** Returns the highlighting of a file; none if there is none for its extension. */
export async function languageOf(name: string): Promise<Extension> {
  const extension = /\.([^./]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";
  // A name such as "constructor" is no language.
  const load = Object.hasOwn(OF_EXTENSION, extension) ? OF_EXTENSION[extension] : undefined;
  return load ? load() : [];
}
