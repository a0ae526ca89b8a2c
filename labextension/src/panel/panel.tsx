// The panel in the side bar. It draws only while somebody can see it.

import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { Actions } from '../actions';
import { meterIcon } from '../icon';
import type { ITranslate } from '../translation';
import { Body } from './body';
import type { PanelState } from './state';

export const PANEL_ID = 'hubmeter-panel';

export class Panel extends ReactWidget {
  constructor(state: PanelState, actions: Actions, trans: ITranslate) {
    super();
    this._actions = actions;
    this._state = state;
    this._trans = trans;
    this.id = PANEL_ID;
    this.addClass('hm-Panel');
    this.title.icon = meterIcon;
    this.title.caption = trans.__('Memory and processor of this server');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this.title.caption);
    state.changed.connect(this._draw, this);
    state.feed.changed.connect(this._draw, this);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._state.changed.disconnect(this._draw, this);
      this._state.feed.changed.disconnect(this._draw, this);
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    return <Body state={this._state} actions={this._actions} trans={this._trans} />;
  }

  protected override onAfterHide(): void {
    this._state.watched = false;
  }

  protected override onAfterShow(): void {
    this._state.watched = true;
    void this._state.open();
    this.update();
  }

  private _draw(): void {
    if (this.isVisible && !document.hidden) {
      this.update();
    }
  }

  private _actions: Actions;
  private _state: PanelState;
  private _trans: ITranslate;
}
