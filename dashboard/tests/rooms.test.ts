import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MOST_FILES = 15;

/** The folders that hold code, with the paths of their files. */
const FOLDERS = new Map(
  ["dev", "src", "tests"]
    .flatMap((top) => [top, ...foldersBelow(top)])
    .map((folder) => [folder, codeIn(folder)] as const)
    .filter(([folder, files]) => files.length || foldersBelow(folder).length),
);

function foldersBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => [join(folder, name), ...foldersBelow(join(folder, name))]);
}

function codeIn(folder: string): string[] {
  const names = readdirSync(join(ROOT, folder)).filter((name) => /\.tsx?$/.test(name) && !name.endsWith(".gen.ts"));
  return names.map((name) => join(folder, name));
}

/** The folders from which a file imports. */
function importsOf(file: string): string[] {
  const specifiers = [...readFileSync(join(ROOT, file), "utf8").matchAll(/(?:from|import|import\() ?"((?:@|\.{1,2})\/[^"]+)"/g)];
  return specifiers.map(([, specifier = ""]) => {
    const path = specifier.startsWith("@/") ? join("src", specifier.slice(2)) : normalize(join(dirname(file), specifier));
    return dirname(path);
  });
}

test("each folder has a line in the README", () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const described = [...readme.matchAll(/^\| `([^`]+)` \|/gm)].map(([, folder]) => folder);
  expect(described).toEqual([...FOLDERS.keys()].sort());
});

test("no folder holds more files than a reader can survey", () => {
  const crowded = [...FOLDERS].filter(([, files]) => files.length > MOST_FILES);
  expect(crowded.map(([folder, files]) => `${folder}: ${files.length}`)).toEqual([]);
});

test("no two folders import each other", () => {
  const imports = new Map([...FOLDERS].map(([folder, files]) => [folder, new Set(files.flatMap(importsOf))]));
  const mutual = [...imports].flatMap(([folder, targets]) =>
    [...targets].filter((other) => other < folder && imports.get(other)?.has(folder)).map((other) => `${other} and ${folder}`),
  );
  expect(mutual).toEqual([]);
});

/** The floors of the house. What stands on a floor imports from the floors before it, and from its own. */
const FLOORS = ["src/types", "src/lib", "src/api", "src/components", "src/pages", "src/shell"];

test("types import nothing, computations import types alone, requests no component, and a component no page", () => {
  const floorOf = (folder: string) => FLOORS.findIndex((floor) => !relative(floor, folder).startsWith(".."));
  const wrong = [...FOLDERS].flatMap(([folder, files]) =>
    files.flatMap(importsOf).filter((target) => floorOf(folder) >= 0 && floorOf(target) > floorOf(folder)).map((target) => `${folder} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});
