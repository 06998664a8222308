// From a drop or a file picker to a flat list of files with their relative paths.
import type { UploadItem } from "./upload_queue";

/** Files that the system leaves in folders and nobody means to upload. */
const JUNK = /^(\.|Thumbs\.db$|desktop\.ini$|__MACOSX$)/i;

/** Files of an <input type="file">, with or without `webkitdirectory`. */
export function pickedFiles(files: Iterable<File>): UploadItem[] {
  return [...files]
    .map((file) => ({ path: file.webkitRelativePath || file.name, file }))
    .filter(({ path }) => path.split("/").every((part) => !JUNK.test(part)));
}

/** Everything in a drop, folders gone through to the bottom. Call it before the event handler returns. */
export async function droppedFiles(transfer: DataTransfer): Promise<UploadItem[]> {
  // Entries have to be taken while the event lasts; their content may be read later.
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  if (entries.length === 0) return pickedFiles(transfer.files);
  const found: UploadItem[] = [];
  for (const entry of entries) await collect(entry, "", found);
  return found;
}

async function collect(entry: FileSystemEntry, folder: string, found: UploadItem[]): Promise<void> {
  if (JUNK.test(entry.name)) return;
  const path = folder + entry.name;
  if (entry.isFile) {
    found.push({ path, file: await fileOf(entry as FileSystemFileEntry) });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // A reader gives a hundred entries at a time, and none at the end.
  for (let part = await entriesOf(reader); part.length > 0; part = await entriesOf(reader)) {
    for (const child of part) await collect(child, `${path}/`, found);
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

function entriesOf(reader: FileSystemDirectoryReader): Promise<FileSystemEntry[]> {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}

/** A dataset name from what was dropped: the top folder's, where there is one. */
export function suggestedName(items: readonly UploadItem[]): string {
  const first = items[0]?.path ?? "";
  return first.includes("/") ? (first.split("/")[0] ?? "") : "";
}
