import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./Icon";

export interface MenuItem {
  readonly label: string;
  readonly icon?: IconName;
  readonly danger?: boolean;
  /** For one of several of which one is chosen. */
  readonly checked?: boolean;
  /** Draws a line above it. */
  readonly startsGroup?: boolean;
  readonly href?: string;
  readonly onChoose?: () => void;
}

const GAP_PX = 4;
const EDGE_PX = 8;

/** A button that opens a list of commands; `items` is asked only when it opens. */
export function Menu({ label, describedBy, items, children }: {
  label: string;
  describedBy?: string;
  items: () => readonly MenuItem[];
  children: ComponentChildren;
}) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const [isOpen, setOpen] = useState(false);

  useLayoutEffect(() => {
    if (!isOpen || !button.current || !list.current) return;
    const { current: box } = list;
    const anchor = button.current.getBoundingClientRect();
    const size = box.getBoundingClientRect();
    const below = anchor.bottom + GAP_PX;
    const top = below + size.height > innerHeight - EDGE_PX ? Math.max(EDGE_PX, anchor.top - GAP_PX - size.height) : below;
    box.style.insetBlockStart = `${top}px`;
    box.style.insetInlineStart = `${Math.max(EDGE_PX, Math.min(anchor.right, innerWidth - EDGE_PX) - size.width)}px`;
    box.querySelector<HTMLElement>("[role^='menuitem']")?.focus({ preventScroll: true });
    // It is fixed to the window: what it belongs to must not scroll away from it.
    const close = (): void => box.hidePopover();
    addEventListener("scroll", close, { passive: true });
    return () => removeEventListener("scroll", close);
  }, [isOpen]);

  const move = (event: KeyboardEvent): void => {
    const all = [...(list.current?.querySelectorAll<HTMLElement>("[role^='menuitem']") ?? [])];
    const index = all.indexOf(document.activeElement as HTMLElement);
    const target = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Tab") list.current?.hidePopover();
    if (target === undefined) return;
    event.preventDefault();
    all[(target + all.length) % all.length]?.focus();
  };
  const choose = (item: MenuItem): void => {
    list.current?.hidePopover();
    button.current?.focus();
    item.onChoose?.();
  };

  return (
    <>
      <button
        ref={button}
        type="button"
        class="button button-small button-icon"
        aria-label={label}
        aria-describedby={describedBy}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        title={label}
        popovertarget={id}
      >
        {children}
      </button>
      <div
        ref={list}
        id={id}
        class="menu"
        role="menu"
        aria-label={label}
        popover="auto"
        onKeyDown={move}
        onToggle={(event) => setOpen((event as ToggleEvent).newState === "open")}
      >
        {isOpen && items().map((item) => <MenuRow key={item.label} item={item} choose={choose} />)}
      </div>
    </>
  );
}

function MenuRow({ item, choose }: { item: MenuItem; choose: (item: MenuItem) => void }) {
  const props = {
    class: `menu-item${item.danger ? " menu-danger" : ""}${item.startsGroup ? " menu-group" : ""}`,
    role: item.checked === undefined ? "menuitem" as const : "menuitemradio" as const,
    "aria-checked": item.checked,
    tabIndex: -1,
    onClick: () => choose(item),
  };
  const content = <><span class="menu-icon">{item.checked ? <Icon name="tick" /> : item.icon && <Icon name={item.icon} />}</span>{item.label}</>;
  return item.href ? <a {...props} href={item.href}>{content}</a> : <button type="button" {...props}>{content}</button>;
}
