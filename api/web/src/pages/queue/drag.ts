// Dragging a row of the queue to another place: with a mouse, a pen or a finger.

/** Where a row whose middle is at `middle` belongs: the number of other rows that stay above it. */
export function slotAt(middles: readonly number[], middle: number): number {
  return middles.filter((one) => one < middle).length;
}

const EDGE_PX = 90;
const SCROLL_PX = 14;

/** Follows the pointer until it is let go, then calls `drop` with the row's new place among `rows`; Escape changes nothing. */
export function startDrag(event: PointerEvent, row: HTMLElement, rows: readonly HTMLElement[], drop: (slot: number) => void): void {
  const grip = event.currentTarget as HTMLElement;
  const pageY = (clientY: number): number => clientY + scrollY;
  const boxes = rows.map((one) => {
    const { top, height } = one.getBoundingClientRect();
    return { top: top + scrollY, height };
  });
  const from = rows.indexOf(row);
  const own = boxes[from];
  if (!own || event.button !== 0) return;
  event.preventDefault();
  const startY = pageY(event.clientY);
  const others = boxes.filter((_, index) => index !== from).map(({ top, height }) => top + height / 2);
  let slot = from;
  let clientY = event.clientY;
  let frame = 0;

  const show = (): void => {
    const moved = pageY(clientY) - startY;
    slot = slotAt(others, own.top + own.height / 2 + moved);
    rows.forEach((one, index) => {
      const gaveWay = index > from && index <= slot ? -own.height : index < from && index >= slot ? own.height : 0;
      one.style.translate = `0 ${index === from ? moved : gaveWay}px`;
    });
  };
  const scrollOn = (): void => {
    const step = clientY < EDGE_PX ? -SCROLL_PX : clientY > innerHeight - EDGE_PX ? SCROLL_PX : 0;
    if (step !== 0) {
      scrollBy(0, step);
      show();
    }
    frame = requestAnimationFrame(scrollOn);
  };
  const onMove = (next: PointerEvent): void => {
    clientY = next.clientY;
    show();
  };
  const end = (): void => {
    cancelAnimationFrame(frame);
    for (const one of rows) one.style.translate = "";
    row.parentElement?.removeAttribute("data-dragging");
    row.removeAttribute("data-dragged");
    grip.removeEventListener("pointermove", onMove);
    grip.removeEventListener("pointerup", onUp);
    grip.removeEventListener("lostpointercapture", end);
    removeEventListener("keydown", onKey, true);
  };
  const onUp = (): void => {
    end();
    if (slot !== from) drop(slot);
  };
  const onKey = (key: KeyboardEvent): void => {
    if (key.key !== "Escape") return;
    key.preventDefault();
    slot = from;
    end();
  };

  grip.setPointerCapture(event.pointerId);
  row.parentElement?.setAttribute("data-dragging", "");
  row.setAttribute("data-dragged", "");
  grip.addEventListener("pointermove", onMove);
  grip.addEventListener("pointerup", onUp);
  grip.addEventListener("lostpointercapture", end);
  addEventListener("keydown", onKey, true);
  frame = requestAnimationFrame(scrollOn);
}
