import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

let isFirst = true;

/** A page with its heading: names the tab, and takes the focus when it was navigated to. */
export function Page({ title, tabTitle, head, children }: {
  title: string;
  tabTitle?: string;
  head?: ComponentChildren;
  children: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!isFirst) heading.current?.focus({ preventScroll: true });
    isFirst = false;
  }, []);
  useEffect(() => {
    document.title = `${tabTitle ?? title} – Spectrain`;
  }, [title, tabTitle]);
  return (
    <>
      <div class="page-head">
        <h1 ref={heading} tabIndex={-1}>{title}</h1>
        {head}
      </div>
      {children}
    </>
  );
}
