// Bundles the scripts and styles of the pages: node build.mjs FOLDER
//
// Each file in pages/ becomes one script, and each in ../static/ one file; their names get a digest
// of the content, so browsers may keep them for ever. names.json says which name is whose.
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = resolve(process.argv[2]);
const inside = (name) => readdirSync(join(here, name)).map((file) => join(here, name, file));

const { metafile } = await build({
  entryPoints: [
    ...inside("pages").filter((path) => path.endsWith(".ts")),
    ...inside("../static").filter((path) => path.endsWith(".css")),
    ...inside("../static").filter((path) => path.endsWith(".svg")),
  ],
  outdir: `${folder}.next`,
  entryNames: "[name]-[hash]",
  chunkNames: "chunk-[hash]",
  bundle: true,
  splitting: true,
  minify: true,
  metafile: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  loader: { ".svg": "copy" },
  logLevel: "warning",
});

const names = {};
for (const path of Object.keys(metafile.outputs)) {
  const name = basename(path);
  // A chunk, which scripts load by its own name, has no other.
  const plain = name.startsWith("chunk-") ? name : name.replace(/-[A-Z0-9]{8}(?=\.\w+$)/, "");
  names[plain] = name;
}
mkdirSync(`${folder}.next`, { recursive: true });
writeFileSync(join(`${folder}.next`, "names.json"), JSON.stringify(names, null, 2));
rmSync(folder, { recursive: true, force: true });
renameSync(`${folder}.next`, folder);
