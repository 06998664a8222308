// The uploads of this tab, by dataset: they go on while other pages are looked at.
import { signal } from "@preact/signals";
import { uploadFiles } from "../http/api";
import { putDataset } from "./queue";
import { type UploadItem, UploadQueue } from "./upload_queue";

const queues = signal<ReadonlyMap<number, UploadQueue>>(new Map());

export function uploadOf(dataset: number): UploadQueue | undefined {
  return queues.value.get(dataset);
}

export function startUpload(dataset: number, items: readonly UploadItem[]): void {
  if (items.length === 0) return;
  let queue = queues.value.get(dataset);
  if (!queue) {
    queue = new UploadQueue({
      send: async (batch) => {
        const answer = await uploadFiles(dataset, batch);
        putDataset(answer.dataset);
        return answer.results;
      },
    });
    queues.value = new Map(queues.value).set(dataset, queue);
  }
  queue.add(items);
}

addEventListener("online", () => {
  for (const queue of queues.value.values()) queue.retryNow();
});
addEventListener("beforeunload", (event) => {
  if ([...queues.value.values()].some((queue) => queue.isBusy)) event.preventDefault();
});
