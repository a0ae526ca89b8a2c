import { LabIcon } from '@jupyterlab/ui-components';

/** A gauge, in the colours of the theme's other side bar icons. */
export const meterIcon = new LabIcon({
  name: 'hubmeter:meter',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M12 4a10 10 0 0 0-8.7 15h2.4a8 8 0 1 1 12.6 0h2.4A10 10 0 0 0 12 4z"/>
    <path d="M16.9 8.9l-4.2 6.6a2 2 0 1 1-2.5-.6z"/>
  </g>
</svg>`
});
